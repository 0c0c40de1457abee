//! What can go wrong, per operation.

use std::path::PathBuf;

use crate::Table;

/// Why a commit did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// An expectation did not hold; nothing was written.
    #[error("the entry in table {table} is not what the commit expected")]
    Conflict {
        /// The table of the first expectation that failed.
        table: Table,
        /// Its key.
        key: Vec<u8>,
    },
    /// There is no space left; nothing was written. Works again once space is freed.
    #[error("the disk of the data directory is full")]
    Full,
    /// The commit is larger than [`Commit::MAX_BYTES`](crate::Commit::MAX_BYTES); nothing was
    /// written.
    #[error("the commit has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// `commit_soon` was given expectations, puts or deletes; nothing was written.
    #[error("only appends can be committed later")]
    OnlyAppends,
    /// The store can't write. The commit is not acknowledged, and whoever asked for it must act
    /// as if it had not happened; after a failed disk sync it may still be found in the store.
    #[error("the store can't write: {0}")]
    Unavailable(String),
}

impl CommitError {
    /// Whether the commit may be in the store all the same. Whoever keeps in memory what it commits
    /// then reads what became of it.
    pub fn may_have_landed(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What is stored is damaged. A damaged value is never returned.
    #[error("damaged data in {place}: {reason}")]
    Corrupt {
        /// The table or log.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store can't read at present.
    #[error("the store can't read: {0}")]
    Unavailable(String),
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another part of this one, has the data directory open.
    #[error("the data directory {} is in use by another host; stop that one, or name another directory", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The file is not a store any more. Nothing was changed.
    #[error(
        "the store {} is damaged ({reason}); nothing was changed. Restore it from a backup, or move the file away to start with an empty store",
        path.display()
    )]
    Corrupt {
        /// The store file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store was written by a newer host. Nothing was changed.
    #[error(
        "the store {} has format {found}, and this host knows formats up to {supported}; use a newer host",
        path.display()
    )]
    TooNew {
        /// The store file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        supported: u64,
    },
    /// There is no space left, not even in the reserve.
    #[error("the disk of the data directory {} is full; free some space", path.display())]
    Full {
        /// The data directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}
