//! Work that takes as long as what it is given is large.

/// What is larger is not searched on a thread that others wait for.
pub(crate) const SMALL: usize = 64 * 1024;

/// Does the work here if it is on little, and else beside the threads that serve.
pub(crate) async fn beside<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if size <= SMALL {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The work is never aborted, so only a stopping host ends here.
            Err(_) => std::future::pending().await,
        },
    }
}
