//! Ctrl-C, or the SIGTERM of a cluster that wants its machine back: the first asks the work to save and stop,
//! the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user has asked to stop. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for Ctrl-C from now on. Where the system doesn't allow it, Ctrl-C ends the program as usual.
    pub fn on_ctrl_c() -> Self {
        let stop = Self::default();
        let flag = Arc::clone(&stop.0);
        let handler = move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            crate::terminal::note("stopping: saving what there is (Ctrl-C again quits at once)");
        };
        if let Err(e) = ctrlc::set_handler(handler) {
            tracing::warn!("Ctrl-C will not save: {e}");
        }
        stop
    }

    /// The user asked to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Why a report shows less than was asked for, if the user asked to stop; which of the two signals came isn't
    /// known.
    pub fn why(&self) -> Option<String> {
        self.asked().then(|| "stopped by Ctrl-C or SIGTERM".to_owned())
    }

    /// The flag itself, for libraries that look at it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
