//! The two clocks of an invocation: the deadline, which stops while a person is
//! asked, and the time that the guest sees, which stands still between events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The wall limit of an invocation.
#[derive(Debug)]
pub(crate) struct Deadline {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    end: Instant,
    /// How many people are being asked, and since when the clock stands.
    asked: u32,
    since: Instant,
}

impl Deadline {
    pub(crate) fn new(now: Instant, limit: Duration) -> Self {
        // Some thirty years stand for "never", as they do in tokio.
        let end = now
            .checked_add(limit)
            .unwrap_or(now + Duration::from_secs(1_000_000_000));
        Self {
            inner: Mutex::new(Inner {
                end,
                asked: 0,
                since: now,
            }),
            changed: Notify::new(),
        }
    }

    /// Stops the clock. Nested stops count.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        if inner.asked == 0 {
            inner.since = Instant::now();
        }
        inner.asked += 1;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Starts the clock again when the last stop has ended. Returns whether it
    /// runs.
    pub(crate) fn go_on(&self) -> bool {
        let mut inner = self.lock();
        inner.asked = inner.asked.saturating_sub(1);
        let runs = inner.asked == 0;
        if runs {
            let stood = inner.since.elapsed();
            inner.end += stood;
        }
        drop(inner);
        self.changed.notify_waiters();
        runs
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        let inner = self.lock();
        let now = if inner.asked > 0 {
            inner.since
        } else {
            Instant::now()
        };
        inner.end.saturating_duration_since(now)
    }

    /// Returns when the limit is used up.
    pub(crate) async fn passed(&self) {
        loop {
            // Taken before the state is read, so that no change is missed.
            let changed = self.changed.notified();
            let end = {
                let inner = self.lock();
                (inner.asked == 0).then_some(inner.end)
            };
            match end {
                None => changed.await,
                Some(end) if end <= Instant::now() => return,
                Some(end) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(end) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that a guest sees.
#[derive(Debug)]
pub(crate) struct EventClock {
    started: Instant,
    started_at: SystemTime,
    /// Nanoseconds between the start and the last event.
    event: AtomicU64,
}

impl EventClock {
    pub(crate) fn new(started: Instant, started_at: SystemTime) -> Self {
        Self {
            started,
            started_at,
            event: AtomicU64::new(0),
        }
    }

    /// Moves the guest's time to now: an event has happened.
    pub(crate) fn advance(&self) {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.event.fetch_max(now, Ordering::Relaxed);
    }

    /// Nanoseconds since the start of the invocation.
    pub(crate) fn monotonic(&self) -> u64 {
        self.event.load(Ordering::Relaxed)
    }

    /// Time since the epoch.
    pub(crate) fn wall(&self) -> Duration {
        self.started_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_add(Duration::from_nanos(self.monotonic()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_stands_while_anybody_is_asked() {
        let deadline = Deadline::new(Instant::now(), Duration::from_secs(60));
        deadline.stop();
        deadline.stop();
        let left = deadline.left();
        assert!(!deadline.go_on());
        assert_eq!(deadline.left(), left);
        assert!(deadline.go_on());
        assert!(deadline.left() <= left);
    }
}
