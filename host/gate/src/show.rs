//! Showing the questions of an agent to people, a few at a time.

use std::pin::Pin;
use std::sync::Arc;

use nexus_store::Commit;

use crate::ApprovalId;
use crate::approval::State;
use crate::gate::Inner;
use crate::settle::Step;

impl Inner {
    /// Shows the next question of an agent. One that can't be shown now is shown as soon as a change
    /// can be written again.
    pub(crate) fn promote(
        self: Arc<Self>,
        id: ApprovalId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            loop {
                let stored = match self.load(id).await {
                    Ok(Some(stored)) if stored.row.state == State::Queued => stored,
                    // Not on disk yet (then whoever writes it looks again), or over already.
                    Ok(_) => return,
                    Err(error) => return self.show_later(id, &error),
                };
                let mut next = stored.row.clone();
                next.state = State::Pending;
                match self
                    .replace(
                        &stored,
                        Step {
                            next,
                            event: None,
                            end: None,
                            // It takes one of few places, and nobody can decide what is not shown.
                            urgent: true,
                            also: Commit::new(),
                        },
                        None,
                    )
                    .await
                {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => return self.show_later(id, &error),
                }
            }
        })
    }

    fn show_later(&self, id: ApprovalId, error: &str) {
        tracing::warn!(%id, error, "an approval could not be shown; that is tried again");
        self.book().not_shown(id);
        self.timer.notify_one();
    }

    /// Shows what could not be shown before.
    pub(crate) fn show_late(&self) {
        let late = self.book().take_late();
        for id in late {
            if let Some(gate) = self.this.upgrade() {
                self.runtime.spawn(gate.promote(id));
            }
        }
    }
}
