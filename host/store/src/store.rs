//! The contract every backend keeps.

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Commit, CommitError, Committed, KeyValue, Log, LogRecord, Position, ReadError, Scan, Table,
};

/// Durable state. One conformance suite holds for every implementation.
///
/// Commits take effect one after the other, in the order in which the calls were made (for
/// [`commit`](Store::commit): in which their futures were first polled). Reads see whole commits
/// only, and every commit that was acknowledged before they began.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Runs a commit. When it returns `Ok`, all of it is durable, and so is every commit before
    /// it; a conflict or an error writes nothing, but for [`CommitError::Unavailable`], after which the
    /// commit [may have landed](CommitError::may_have_landed). Dropping the future does not take back
    /// a commit that was already handed over: see [`to_the_end`](crate::to_the_end).
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// Takes over a commit that only appends, without waiting for the disk. It keeps its place
    /// among all commits, is durable within a second and before any later [`commit`](Store::commit)
    /// returns. After a failed write every call is refused until a write succeeds again, so that
    /// nothing more happens that could not be recorded; what was taken over before stays in line
    /// and is written first.
    fn commit_soon(&self, commit: Commit) -> Result<(), CommitError>;

    /// The value of a key.
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// The entries of a table, in the order of their keys.
    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<KeyValue>, ReadError>;

    /// At most `limit` records of a log, from sequence number `from` on. Does not return what was
    /// committed soon and is not durable yet.
    async fn read_log(
        &self,
        log: Log,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, ReadError>;

    /// The last durable record of a log, or [`Position::EMPTY`].
    async fn head(&self, log: Log) -> Result<Position, ReadError>;

    /// Follows a log: the value is the sequence number of its last durable record, and changes
    /// when more become durable.
    fn watch(&self, log: Log) -> watch::Receiver<u64>;
}
