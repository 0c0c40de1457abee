//! How often: a token bucket in one atomic number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses whose failures are remembered. Beyond them all are forgotten, and counted anew.
const ADDRESSES: usize = 4096;
/// Failed attempts of one address: so many at once, and so many a second.
const FAILURES_BURST: u32 = 1000;
const FAILURES_PER_SECOND: u32 = 10;

/// What somebody has used up of a rate: the moment, in nanoseconds, at which all of it is free again.
#[derive(Debug, Default)]
pub(crate) struct Rate(AtomicU64);

impl Rate {
    /// Takes one of `per_second`, of which `burst` may be taken at once; or says when to come again.
    pub(crate) fn take(&self, per_second: u32, burst: u32) -> Result<(), Duration> {
        self.take_at(now(), per_second, burst)
    }

    fn take_at(&self, now: u64, per_second: u32, burst: u32) -> Result<(), Duration> {
        let each = 1_000_000_000 / u64::from(per_second.max(1));
        let room = each * u64::from(burst.max(1));
        let mut free_at = self.0.load(Ordering::Relaxed);
        loop {
            let next = free_at.max(now) + each;
            if next > now + room {
                return Err(Duration::from_nanos(next - now - room));
            }
            match self
                .0
                .compare_exchange_weak(free_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => free_at = other,
            }
        }
    }
}

fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
}

/// Failed attempts to authenticate, by address. A good token is never held up by them.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<HashMap<IpAddr, Rate>>>);

impl Failures {
    /// Counts a failure; beyond the rate it says when to come again.
    pub(crate) fn count(&self, address: IpAddr) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES && !all.contains_key(&address) {
            all.clear();
        }
        let rate = all.entry(address).or_default();
        rate.take(FAILURES_PER_SECOND, FAILURES_BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let rate = Rate::default();
        let second = 1_000_000_000;
        let taken = |at: u64| (0..100).filter(|_| rate.take_at(at, 10, 5).is_ok()).count();
        assert_eq!(taken(second), 5);
        assert_eq!(taken(second + second / 10), 1);
        assert_eq!(taken(2 * second + second / 10), 5, "no more is saved up");
        let wait = rate
            .take_at(2 * second + second / 10, 10, 5)
            .expect_err("used up");
        assert_eq!(wait, Duration::from_millis(100));
    }

    #[test]
    fn addresses_are_bounded() {
        let failures = Failures::default();
        for number in 0..10_000_u32 {
            assert_eq!(failures.count(IpAddr::from(number.to_be_bytes())), Ok(()));
        }
        let kept = failures.0.lock().expect("whole").len();
        assert!(kept <= ADDRESSES, "{kept}");
    }
}
