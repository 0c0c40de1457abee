use std::sync::Arc;

use tokio::sync::watch;

/// Cancels one forge. Clones cancel the same one.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Cancels the forge. It ends with a last event, by when nothing of it is left; where it has
    /// begun to become the live generation, it goes on to its end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the forge is cancelled.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}
