//! How much memory a program may take.

use crate::{Error, Result};

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
