//! Who holds a lease, and whether that process still lives.

use std::sync::atomic::{AtomicU32, Ordering};

/// Identity of one worker: `host/pid/start/number`.
///
/// The host is known on Linux only (boot id and process namespace, so that a process of another
/// container is never taken for a dead one); elsewhere a killed worker's lease runs out instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerId {
    text: String,
}

impl WorkerId {
    /// A new worker of this process.
    pub fn new() -> WorkerId {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        WorkerId {
            text: format!(
                "{}/{pid}/{}/{}",
                host().unwrap_or_default(),
                start(pid).unwrap_or_default(),
                NUMBER.fetch_add(1, Ordering::Relaxed)
            ),
        }
    }

    /// The text that the store keeps.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Default for WorkerId {
    fn default() -> Self {
        WorkerId::new()
    }
}

/// Whether the worker that `text` names certainly is no more: it ran on this host, and its
/// process is gone or its number belongs to another one by now.
pub(super) fn is_dead(text: &str) -> bool {
    let mut parts = text.split('/');
    let (Some(host_then), Some(pid), Some(start_then)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(pid) = pid.parse() else { return false };
    !host_then.is_empty() && host().as_deref() == Some(host_then) && start(pid).as_deref() != Some(start_then)
}

/// This boot of this machine, as seen from this process namespace.
#[cfg(target_os = "linux")]
fn host() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}:{}", boot.trim(), namespace.display()))
}

/// When the living process `pid` began, in ticks since boot; `None` if there is none.
#[cfg(target_os = "linux")]
fn start(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything, but it ends at the last parenthesis (proc_pid_stat(5)).
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let dead = matches!(fields.next()?, "Z" | "X");
    // Field 22 of the line; the state just read is field 3.
    fields.nth(18).filter(|_| !dead).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn host() -> Option<String> {
    None
}

#[cfg(not(target_os = "linux"))]
fn start(_pid: u32) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gone_process_of_this_host_is_dead() {
        let own = WorkerId::new();
        assert!(!is_dead(own.as_str()));
        assert_ne!(own, WorkerId::new());
        assert!(!is_dead("other-host/1/2/0"));
        assert!(!is_dead("nonsense"));
        assert!(!is_dead("/1/2/0"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_number_used_again_does_not_keep_the_dead_alive() {
        let own = WorkerId::new();
        let mut parts: Vec<&str> = own.as_str().split('/').collect();
        parts[2] = "1";
        assert!(is_dead(&parts.join("/")));
    }
}
