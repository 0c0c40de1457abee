//! Ends questions when their time is up: one task, one sleep until the earliest deadline. On the way it
//! removes grants whose time is over, and shows what could not be shown before.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::approval::State;
use crate::book::End;
use crate::gate::Inner;

/// How often grants whose time is over are removed. They answer nothing before that either.
const SWEEP: Duration = Duration::from_secs(60 * 60);
/// How soon it is tried again to show a question, if no other change shows it before.
const SHOW: Duration = Duration::from_secs(1);

/// Runs until the gate is gone.
pub(crate) async fn run(gate: Weak<Inner>, wake: Arc<Notify>) {
    let mut sweep = Instant::now() + SWEEP;
    loop {
        // The gate is not held while nothing is due, so that its last handle can go.
        let (earliest, late) = match gate.upgrade() {
            Some(gate) => {
                let book = gate.book();
                (book.earliest(), book.has_late())
            }
            None => return,
        };
        let mut next = earliest.map_or(sweep, |deadline| deadline.min(sweep));
        if late {
            next = next.min(Instant::now() + SHOW);
        }
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = wake.notified() => {}
        }
        let Some(gate) = gate.upgrade() else { return };
        if late {
            gate.show_late();
        }
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
