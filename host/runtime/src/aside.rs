//! Work that must not run on a guest's stack.

use std::future::Future;

use tokio::task::JoinHandle;

/// Runs a future on a task of its own and waits for it. Dropping the returned
/// future ends the work.
///
/// The future of a host function is polled on the guest's own stack, whose size
/// and place ordinary code does not know: a library that asks how much stack is
/// left (the policy engine does) gets a wrong answer there, and deep recursion
/// in the host would meet the guest's limit. Such work goes through here, at
/// the cost of about a microsecond. A panic in it is passed on.
pub async fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    struct Abort<T>(JoinHandle<T>);
    impl<T> Drop for Abort<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = Abort(tokio::spawn(work));
    match (&mut task.0).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a stopping runtime cancels the task; its caller is next.
            Err(_) => std::future::pending().await,
        },
    }
}
