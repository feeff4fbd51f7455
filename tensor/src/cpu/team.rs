//! A persistent team of threads that share the tasks of one kernel.
//!
//! The calling thread takes part. A call opens a job, works on it, closes it and waits only for those workers that
//! joined, so a worker that sleeps or is descheduled costs nothing. What a task computes must not depend on who runs
//! it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often an idle worker looks for work before it sleeps: some 50–100 µs, longer than the gap between kernels.
const SPINS: usize = 2_000;

type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A team of threads. Dropping it joins them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One shared job at a time, whoever calls.
    busy: Mutex<()>,
}

struct Shared {
    /// Odd while a job is open; grows by one at each opening and closing.
    epoch: AtomicU64,
    /// Written by the caller while no job is open and no worker active, read by workers that joined.
    job: UnsafeCell<Option<(*const Job<'static>, usize)>>,
    /// The next task to take.
    next: AtomicUsize,
    /// Workers inside the open job.
    active: AtomicUsize,
    /// Workers that sleep or are about to.
    sleepers: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only when the epoch is even and `active` is zero, and read only by a worker that has raised
// `active` and then found the epoch odd; both are sequentially consistent, so the two never overlap.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` points to a `Sync` closure.
unsafe impl Send for Shared {}

impl Team {
    /// A team of `threads` in all, the caller of [`Team::run`] included; 0 counts as 1. Where the system refuses a
    /// thread the team is smaller.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut workers = Vec::new();
        for member in 1..threads.max(1) {
            let shared = shared.clone();
            let spawned = std::thread::Builder::new().name(format!("cpu-{member}")).spawn(move || shared.work(member));
            match spawned {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    tracing::warn!(%error, "the system refuses thread {member}; the team is smaller");
                    break;
                }
            }
        }
        Self { shared, workers, busy: Mutex::new(()) }
    }

    /// Number of threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(index, member)` for every index below `tasks` and returns when all are done. `member` is below
    /// [`Team::threads`] and no two tasks of a call run at once under one member.
    ///
    /// # Panics
    /// With the panic of a task, after all threads have left the job.
    pub(crate) fn run(&self, tasks: usize, task: &Job<'_>) {
        // The caller alone: others may call meanwhile, on executables of their own.
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(|index| task(index, 0));
            return;
        }
        let _busy = held(&self.busy);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed. No worker calls the closure after this function has seen `active` at
        // zero with the job closed, which is before `task` ends.
        let erased = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(task) };
        // SAFETY: `busy` is held, no job is open and no worker is active (see `Shared`).
        unsafe { *shared.job.get() = Some((erased, tasks)) };
        shared.next.store(0, Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _lock = held(&shared.lock);
            shared.wake.notify_all();
        }
        shared.take(task, tasks, 0);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        let mut spins = 0;
        while shared.active.load(Ordering::SeqCst) != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = held(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// Takes tasks until none is left. A panic ends the job early and is kept for the caller.
    fn take(&self, task: &Job<'_>, tasks: usize, member: usize) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    return;
                }
                task(index, member);
            }
        }));
        if let Err(panic) = result {
            self.next.store(tasks, Ordering::Relaxed);
            held(&self.panic).get_or_insert(panic);
        }
    }

    fn work(&self, member: usize) {
        let mut done = 0;
        while let Some(epoch) = self.next_epoch(done) {
            done = epoch;
            self.active.fetch_add(1, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == epoch {
                // SAFETY: `active` was raised before the job was seen open, so the caller neither replaces the job nor
                // returns.
                if let Some((task, tasks)) = unsafe { *self.job.get() } {
                    // SAFETY: as above, the closure is alive.
                    self.take(unsafe { &*task }, tasks, member);
                }
            }
            self.active.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Waits for an open job other than `done`; none when the team is dropped.
    fn next_epoch(&self, done: u64) -> Option<u64> {
        let open = || {
            let epoch = self.epoch.load(Ordering::SeqCst);
            (epoch % 2 == 1 && epoch != done).then_some(epoch)
        };
        for _ in 0..SPINS {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(epoch) = open() {
                return Some(epoch);
            }
            std::hint::spin_loop();
        }
        let mut lock = held(&self.lock);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(epoch) = open() {
                break Some(epoch);
            }
            lock = self.wake.wait(lock).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        found
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _lock = held(&self.shared.lock);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so it ends well.
            let _ = worker.join();
        }
    }
}

/// The lock, whether or not a holder panicked: what it guards is consistent at every point.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 2, 5] {
            let team = Team::new(threads);
            for tasks in [0, 1, 2, 7, 100] {
                for _ in 0..20 {
                    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    team.run(tasks, &|index, member| {
                        assert!(member < team.threads());
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn sleeping_workers_are_woken() {
        let team = Team::new(3);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let sum = AtomicUsize::new(0);
            team.run(50, &|index, _| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 1225);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2);
        for bad in [0, 63] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(64, &|index, _| assert!(index != bad, "task {index}"));
            }));
            assert!(result.is_err());
        }
        let count = AtomicUsize::new(0);
        team.run(64, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 64);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let team = Team::new(2);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        team.run(9, &|_, _| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 3 * 50 * 9);
    }
}
