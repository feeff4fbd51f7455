//! How much memory a program may take.

use std::fmt;

use crate::{Error, Result};

/// An amount of memory as people read it: `412 bytes`, `12.5 MiB`, `142.2 GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = |shift: u32| self.0 as f64 / f64::from(1u32 << shift);
        match self.0 {
            ..1_024 => write!(f, "{} bytes", self.0),
            1_024..1_048_576 => write!(f, "{:.1} KiB", units(10)),
            // Up to 10 GiB, so that what differs by a little looks different.
            1_048_576..10_737_418_240 => write!(f, "{:.1} MiB", units(20)),
            _ => write!(f, "{:.1} GiB", units(30)),
        }
    }
}

/// The bytes that one program may take on a device; unlimited where nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemoryBudget(pub Option<u64>);

impl MemoryBudget {
    /// The machine's memory, or what a container grants of it, where the system tells it in a file.
    pub fn of_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let total = read("/proc/meminfo").and_then(|text| total(&text));
        let granted = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let granted = granted.iter().filter_map(|path| read(path)?.trim().parse().ok());
        Self(granted.chain(total).min())
    }

    /// # Errors
    /// [`Error::MemoryBudget`] where `needed` bytes are more than there are.
    pub fn check(self, needed: u64) -> Result<()> {
        match self.0 {
            Some(available) if needed > available => Err(Error::MemoryBudget { needed, available }),
            _ => Ok(()),
        }
    }
}

/// Bytes of the line `MemTotal: N kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_at_a_glance() {
        for (bytes, text) in
            [(412, "412 bytes"), (1536, "1.5 KiB"), (13 << 20, "13.0 MiB"), (152_660_998_292, "142.2 GiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn the_total_is_read_in_kilobytes() {
        assert_eq!(total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: many kB\n"), None);
    }

    #[test]
    fn a_budget_admits_what_fits() {
        assert!(MemoryBudget(None).check(u64::MAX).is_ok());
        assert!(MemoryBudget(Some(10)).check(10).is_ok());
        let error = MemoryBudget(Some(10)).check(11).expect_err("too much");
        assert!(matches!(error, Error::MemoryBudget { needed: 11, available: 10 }), "{error:?}");
    }
}
