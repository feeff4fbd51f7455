//! Widths as an exported file writes them: not numbers, but multiples of what the file is given.

/// The length of a value's last axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Width {
    /// num/den of the model's width `d`, in lowest terms.
    Model { num: u64, den: u64 },
    /// So many times the sequence's length `n`.
    Sequence(u64),
    /// The same at every size.
    Fixed(u64),
}

/// The sizes that a program is exported for. They decide only which of two unequal widths is resized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    /// The model's width d.
    pub d: u64,
    /// The sequence's length n.
    pub n: u64,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Width {
    pub const ONE: Width = Width::Fixed(1);
    pub const MODEL: Width = Width::Model { num: 1, den: 1 };
    pub const SEQUENCE: Width = Width::Sequence(1);

    /// num/den of the model's width.
    pub fn of_model(num: u64, den: u64) -> Width {
        let common = gcd(num, den).max(1);
        Width::Model { num: num / common, den: den / common }
    }

    /// `count` of them side by side.
    pub fn times(self, count: u64) -> Width {
        match self {
            Width::Model { num, den } => Width::of_model(num * count, den),
            Width::Sequence(times) => Width::Sequence(times * count),
            Width::Fixed(width) => Width::Fixed(width * count),
        }
    }

    /// Its `parts`th part, of a width of the model.
    pub fn over(self, parts: u64) -> Width {
        if let Width::Model { num, den } = self { Width::of_model(num, den * parts) } else { self }
    }

    /// The number that it is at the reference's sizes.
    pub fn at(self, reference: Reference) -> u64 {
        match self {
            Width::Model { num, den } => reference.d * num / den,
            Width::Sequence(times) => reference.n * times,
            Width::Fixed(width) => width,
        }
    }

    /// What the model's width must be a multiple of, for this to be a whole number.
    pub fn divisor(self) -> u64 {
        if let Width::Model { den, .. } = self { den } else { 1 }
    }

    /// As a Rust expression of `d` and `n`.
    pub fn code(self) -> String {
        match self {
            Width::Model { num: 1, den: 1 } => "d".into(),
            Width::Model { num, den: 1 } => format!("{num} * d"),
            Width::Model { num: 1, den } => format!("d / {den}"),
            Width::Model { num, den } => format!("{num} * d / {den}"),
            Width::Sequence(1) => "n".into(),
            Width::Sequence(times) => format!("{times} * n"),
            Width::Fixed(width) => width.to_string(),
        }
    }
}

/// The least common multiple.
pub(super) fn lcm(a: u64, b: u64) -> u64 {
    a / gcd(a, b).max(1) * b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_written_in_lowest_terms() {
        let inner = Width::of_model(8, 2);
        let head = Width::of_model(2, 2 * 8);
        let codes = [inner, head, head.times(8), Width::of_model(48, 4 * 16), Width::SEQUENCE.times(4), Width::ONE];
        assert_eq!(codes.map(Width::code), ["4 * d", "d / 8", "d", "3 * d / 4", "4 * n", "1"]);
        let reference = Reference { d: 64, n: 10 };
        assert_eq!(codes.map(|width| width.at(reference)), [256, 8, 64, 48, 40, 1]);
        assert_eq!(lcm(head.divisor(), Width::of_model(1, 12).divisor()), 24);
    }
}
