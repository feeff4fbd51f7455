//! Programs: types, text form, seeds.
