//! The emergency lock: one word that stops every agent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The emergency lock in memory. A cheap handle; all clones are one lock.
///
/// It knows neither disk nor runtime, so nothing that is busy or broken keeps it from being engaged:
/// from then on no action is permitted and no effect starts. Whoever makes it durable is its owner.
#[derive(Debug, Clone, Default)]
pub struct Lock {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    engaged: AtomicBool,
    /// Commits that start effects and are on their way to the disk.
    under_way: AtomicUsize,
    state: Mutex<Option<Engaged>>,
    ended: Condvar,
}

/// That the lock is engaged: why, by whom, since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engaged {
    /// Why.
    pub reason: String,
    /// By whom, or past the API by what.
    pub by: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

impl std::fmt::Display for Engaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the emergency lock was engaged: {}", self.reason)
    }
}

/// The emergency lock is engaged, and nothing happens until an operator lifts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the emergency lock is engaged ({reason}); an operator lifts it with `nexus lock release`")]
pub struct Locked {
    /// Why it is engaged.
    pub reason: String,
}

/// The right to finish one commit. As long as it is held, [`Lock::settled`] waits.
#[derive(Debug)]
pub struct Pass(Arc<Inner>);

impl Lock {
    /// Whether something may begin. One load while the lock is open.
    pub fn check(&self) -> Result<(), Locked> {
        if self.inner.engaged.load(Ordering::SeqCst) {
            Err(self.inner.locked())
        } else {
            Ok(())
        }
    }

    /// Lets one commit through. Once the lock is engaged none is let through any more, and
    /// [`settled`](Self::settled) returns when those that were have ended.
    pub fn enter(&self) -> Result<Pass, Locked> {
        // Counted before the look at the flag: whoever sets the flag then sees the count.
        self.inner.under_way.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(Arc::clone(&self.inner));
        self.check().map(|()| pass)
    }

    /// Engages the lock, at once. False if it was engaged already; the first reason stays.
    pub fn engage(&self, engaged: Engaged) -> bool {
        let mut state = self.inner.state();
        let first = state.is_none();
        state.get_or_insert(engaged);
        self.inner.engaged.store(true, Ordering::SeqCst);
        first
    }

    /// Waits until every commit that was let through before has ended. Blocks the thread. False if one
    /// of them took longer than `patience`: it may still happen.
    pub fn settled(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.inner.state();
        while self.inner.under_way.load(Ordering::SeqCst) > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.inner.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Opens the lock.
    pub fn release(&self) {
        let mut state = self.inner.state();
        *state = None;
        self.inner.engaged.store(false, Ordering::SeqCst);
    }

    /// What it is engaged for, if it is.
    pub fn engaged(&self) -> Option<Engaged> {
        self.inner.state().clone()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, Option<Engaged>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn locked(&self) -> Locked {
        let reason = self.state().as_ref().map(|engaged| engaged.reason.clone());
        Locked {
            reason: reason.unwrap_or_default(),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let last = self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.engaged.load(Ordering::SeqCst) {
            // Taken so that nobody falls asleep between the look at the count and the wait.
            let _state = self.0.state();
            self.0.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engaged(reason: &str) -> Engaged {
        Engaged {
            reason: reason.to_owned(),
            by: "test".to_owned(),
            since_ms: 1,
        }
    }

    #[test]
    fn the_first_reason_stays_until_the_release() {
        let lock = Lock::default();
        assert!(lock.check().is_ok() && lock.engaged().is_none());
        assert!(lock.engage(engaged("a leak")));
        assert!(!lock.engage(engaged("another")));
        assert_eq!(lock.engaged(), Some(engaged("a leak")));
        assert!(lock.enter().is_err());
        let said = lock.check().expect_err("locked").to_string();
        assert!(said.contains("a leak"), "{said}");
        assert!(
            lock.settled(Duration::ZERO),
            "a refused commit is not under way"
        );
        lock.release();
        assert!(lock.enter().is_ok());
    }

    #[test]
    fn what_was_let_through_before_is_waited_for() {
        let lock = Lock::default();
        let pass = lock.enter().expect("open");
        lock.engage(engaged("a leak"));
        assert!(!lock.settled(Duration::ZERO));
        let waiting = {
            let lock = lock.clone();
            std::thread::spawn(move || lock.settled(Duration::from_secs(60)))
        };
        drop(pass);
        assert!(waiting.join().expect("no panic"));
    }

    #[test]
    fn nothing_enters_once_the_lock_has_settled() {
        for _ in 0..200 {
            let (lock, entered) = (Lock::default(), Arc::new(AtomicUsize::new(0)));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (lock, entered) = (lock.clone(), entered.clone());
                    std::thread::spawn(move || {
                        while let Ok(pass) = lock.enter() {
                            entered.fetch_add(1, Ordering::SeqCst);
                            drop(pass);
                        }
                    })
                })
                .collect();
            lock.engage(engaged("a leak"));
            assert!(lock.settled(Duration::from_secs(60)));
            let then = entered.load(Ordering::SeqCst);
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(entered.load(Ordering::SeqCst), then);
        }
    }
}
