//! CPU time: counted while a guest runs, not while it waits, and shared fairly.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Computing time after which an invocation has to share: five ticks.
const HOG: u64 = 10_000_000;

/// The CPU time of one invocation.
///
/// One task polls an invocation at a time, and the epoch callback runs within
/// that poll, so relaxed atomics are enough.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    /// Whether slices are measured in CPU time of the thread. Time on the clock
    /// is cheaper to read, and does until the first tick; from then on a busy
    /// machine must not be charged to the guest.
    exact: AtomicBool,
    /// When the current slice began, in nanoseconds of that clock.
    slice: AtomicU64,
    spent: AtomicU64,
    limit: u64,
    exhausted: AtomicBool,
    /// Whether the guest is between two slices of its own, not in a wait.
    yielding: AtomicBool,
    holds_turn: AtomicBool,
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What follows a tick.
pub(crate) enum Tick {
    /// The time is used up.
    Exhausted,
    /// Let others run, then go on.
    Yield,
    /// Let others run, and take turns with others that compute for long.
    Share,
}

impl Meter {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            base: Instant::now(),
            exact: AtomicBool::new(false),
            slice: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            limit: nanoseconds(limit),
            exhausted: AtomicBool::new(false),
            yielding: AtomicBool::new(false),
            holds_turn: AtomicBool::new(false),
            turn: Mutex::new(None),
        }
    }

    /// Time spent in finished slices.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    /// Whether the limit ended the guest.
    pub(crate) fn exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Judges a guest that an epoch has interrupted.
    pub(crate) fn tick(&self) -> Tick {
        let slice = self
            .now()
            .saturating_sub(self.slice.load(Ordering::Relaxed));
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(slice);
        if spent >= self.limit {
            self.exhausted.store(true, Ordering::Relaxed);
            return Tick::Exhausted;
        }
        self.yielding.store(true, Ordering::Relaxed);
        if spent < HOG {
            Tick::Yield
        } else {
            Tick::Share
        }
    }

    /// The clock that the current slice is measured with. A slice stays on one
    /// thread.
    fn now(&self) -> u64 {
        if self.exact.load(Ordering::Relaxed) {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
            let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
            seconds.saturating_mul(1_000_000_000).saturating_add(rest)
        } else {
            nanoseconds(self.base.elapsed())
        }
    }

    /// Gives up the turn, lets others run and takes the next turn.
    ///
    /// There are fewer turns than workers, so guests that compute for long
    /// never hold all of them and a short call always finds one free.
    pub(crate) async fn share(&self, turns: Arc<Semaphore>) {
        self.give_up_turn();
        tokio::task::yield_now().await;
        // The semaphore is never closed; if it were, there would be no turns.
        if let Ok(permit) = turns.acquire_owned().await {
            *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
            self.holds_turn.store(true, Ordering::Relaxed);
        }
    }

    fn give_up_turn(&self) {
        if self.holds_turn.swap(false, Ordering::Relaxed) {
            self.turn
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        }
    }

    /// Runs a guest's future under this meter.
    pub(crate) fn measure<'a, F: Future>(&'a self, future: Pin<&'a mut F>) -> Measured<'a, F> {
        Measured {
            meter: self,
            future,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) struct Measured<'a, F> {
    meter: &'a Meter,
    future: Pin<&'a mut F>,
}

impl<F: Future> Future for Measured<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let meter = self.meter;
        let begin = meter.now();
        meter.slice.store(begin, Ordering::Relaxed);
        meter.yielding.store(false, Ordering::Relaxed);
        let poll = self.future.as_mut().poll(context);
        let slice = meter.now().saturating_sub(begin);
        meter.spent.fetch_add(slice, Ordering::Relaxed);
        if meter.yielding.load(Ordering::Relaxed) {
            // Between two slices the clock may be exchanged.
            meter.exact.store(true, Ordering::Relaxed);
        }
        // A guest that waits leaves its turn to those that compute.
        if poll.is_ready() || !meter.yielding.load(Ordering::Relaxed) {
            meter.give_up_turn();
        }
        poll
    }
}
