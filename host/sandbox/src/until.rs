use std::convert::Infallible;

use tokio::sync::mpsc;

tokio::task_local! {
    /// Held by every job of the work at hand, until its last process is gone.
    static HELD: mpsc::Sender<Infallible>;
}

/// Does `work` until it ends or `stop` does; `None` if it was stopped.
///
/// When this returns, no process of a [`Job`](crate::Job) that the work ran is left, nor what a job
/// kept: stopping the work kills its jobs, and this waits until they are gone. Jobs that the work
/// runs on tasks of their own are not waited for.
pub async fn until<T>(work: impl Future<Output = T>, stop: impl Future<Output = ()>) -> Option<T> {
    let (held, mut gone) = mpsc::channel(1);
    let work = HELD.scope(held, work);
    let ended = tokio::select! {
        biased;
        ended = work => Some(ended),
        () = stop => None,
    };
    // Nothing is ever sent: it ends when the last holder lets go.
    let _ = gone.recv().await;
    ended
}

/// What a job keeps until its last process is gone.
pub(crate) fn hold() -> Option<mpsc::Sender<Infallible>> {
    HELD.try_with(Clone::clone).ok()
}
