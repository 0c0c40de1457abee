//! Ends questions when their time is up: one task, one sleep until the earliest deadline. On the way it
//! removes grants whose time is over.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::approval::State;
use crate::book::End;
use crate::gate::Inner;

/// How often grants whose time is over are removed. They answer nothing before that either.
const SWEEP: Duration = Duration::from_secs(60 * 60);

/// Runs until the gate is gone.
pub(crate) async fn run(gate: Weak<Inner>, wake: Arc<Notify>) {
    let mut sweep = Instant::now() + SWEEP;
    loop {
        // The gate is not held while nothing is due, so that its last handle can go.
        let earliest = match gate.upgrade() {
            Some(gate) => gate.book().earliest(),
            None => return,
        };
        let next = earliest.map_or(sweep, |deadline| deadline.min(sweep));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = wake.notified() => {}
        }
        let Some(gate) = gate.upgrade() else { return };
        if Instant::now() >= sweep {
            sweep = Instant::now() + SWEEP;
            gate.sweep_grants().await;
        }
        let due = gate.book().due(Instant::now());
        for id in due {
            if let Err(error) = gate.expire(id).await {
                // Whoever waits is told no all the same; the row can't be used, its time is over.
                tracing::warn!(%id, error, "the end of an approval could not be recorded");
                gate.moved(id, State::Expired, Some(End::Expired));
            }
        }
    }
}
