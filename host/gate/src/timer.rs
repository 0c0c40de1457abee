//! Ends questions when their time is up: one task, one sleep until the earliest deadline.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::approval::State;
use crate::book::End;
use crate::gate::Inner;

/// Runs until the gate is gone.
pub(crate) async fn run(gate: Weak<Inner>, wake: Arc<Notify>) {
    loop {
        // The gate is not held while nothing is due, so that its last handle can go.
        let earliest = match gate.upgrade() {
            Some(gate) => gate.book().earliest(),
            None => return,
        };
        match earliest {
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = wake.notified() => {}
            },
            None => wake.notified().await,
        }
        let Some(gate) = gate.upgrade() else { return };
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
