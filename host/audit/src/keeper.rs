//! Checkpoints without being asked.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::trail::Inner;

/// So many events without a checkpoint are signed at once.
const EVENTS: u64 = 1000;
/// So long an event waits for its checkpoint.
const PERIOD: Duration = Duration::from_secs(60);

/// Runs until the last handle of the trail is gone. Holds no handle itself, or it would keep the
/// store open.
pub(crate) async fn keep(trail: Weak<Inner>, mut heads: watch::Receiver<u64>) {
    while heads.changed().await.is_ok() {
        let due = Instant::now() + PERIOD;
        loop {
            let Some(covered) = trail.upgrade().map(|trail| trail.covered()) else {
                return;
            };
            if heads.borrow_and_update().saturating_sub(covered) >= EVENTS {
                break;
            }
            tokio::select! {
                () = sleep_until(due) => break,
                changed = heads.changed() => if changed.is_err() { return },
            }
        }
        let Some(trail) = trail.upgrade() else {
            return;
        };
        if let Err(error) = trail.checkpoint().await {
            tracing::warn!(%error, "no audit checkpoint could be made; the next event tries again");
        }
    }
}
