//! Work that goes on while the guest does something else.

use tokio::task::JoinHandle;

/// A task that ends when its handle is dropped: a guest that drops a `pending` before the decision
/// withdraws it.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts the work.
    pub(crate) fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for its end; `None` if the work panicked.
    pub(crate) async fn wait(&mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
