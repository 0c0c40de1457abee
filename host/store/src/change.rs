//! Changes that their caller can't cut in half.

use std::future::Future;

use crate::{CommitError, Store, Table};

/// Carries a change to its end on a task of its own, though whoever asked for it leaves meanwhile.
///
/// For whoever commits and then keeps in memory what it has committed: a commit that was handed over
/// is written whether or not its caller still waits, and memory has to follow it. A panic of the change
/// is passed on; only a runtime that shuts down leaves a change undone, which is the error.
pub async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = T> + Send + 'static,
) -> Result<T, CommitError> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(CommitError::Unavailable("the host is stopping".to_owned())),
        },
    }
}

/// Whether a commit that was answered with `error` is in the store all the same: it is if `key` has the
/// value that the commit leads to, which must be one that it did not have before. A store that can't be
/// read has not said so.
pub async fn landed(
    store: &dyn Store,
    error: &CommitError,
    table: Table,
    key: &[u8],
    value: Option<&[u8]>,
) -> bool {
    error.may_have_landed()
        && matches!(store.get(table, key).await, Ok(found) if found.as_deref() == value)
}
