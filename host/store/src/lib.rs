//! The durable state of a NEXUS host: transactions as data, hash-chained logs and blobs.
//!
//! A [`Commit`] is a value, never a closure: expectations that must hold and operations that then
//! happen together or not at all. That is what lets an approval, a journal entry and the audit
//! record of one action become durable in a single transaction, lets the committer group what many
//! callers want into one disk sync, and lets another backend implement the same [`Store`].
//!
//! ```
//! # async fn example(store: std::sync::Arc<dyn nexus_store::Store>) -> Result<(), nexus_store::CommitError> {
//! use nexus_store::{Commit, Log, Table};
//!
//! const AGENTS: Table = Table("agents");
//! const AUDIT: Log = Log("audit");
//!
//! let mut commit = Commit::new();
//! commit
//!     .expect_absent(AGENTS, "eth-tracker")
//!     .put(AGENTS, "eth-tracker", "generation 1")
//!     .append(AUDIT, "eth-tracker was deployed");
//! let committed = store.commit(commit).await?;
//! assert_eq!(committed.positions[0].sequence, 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`RedbStore`] keeps all of it in one file of the data directory. Large immutable things, such
//! as components, live beside it as [`Blobs`], named by their SHA-256.

mod blobs;
mod chain;
mod change;
mod clock;
mod commit;
mod error;
mod read;
mod redb_store;
mod store;

pub use blobs::{BlobError, BlobId, Blobs};
pub use chain::{GENESIS, link};
pub use change::{landed, to_the_end};
pub use clock::{now_ms, unix_ms};
pub use commit::{Commit, Committed, Expectation, Log, Operation, Position, Table};
pub use error::{CommitError, OpenError, ReadError};
pub use read::{KeyValue, LogRecord, Scan};
pub use redb_store::{Options, RedbStore};
pub use store::Store;
