//! The `primer` command.

fn main() {}
