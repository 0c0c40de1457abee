//! What a redb error means for the store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::disk::is_full;

/// Why work on the database failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// No space left.
    Full,
    /// An earlier error closed the database; it works again once opened anew.
    Stale,
    /// The file's content is not what redb wrote.
    Corrupt(String),
    /// The file system refused.
    Io(std::io::Error),
    /// Someone else has the file open.
    InUse,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Full => f.write_str("the disk is full"),
            Fault::Stale => f.write_str("the store file has to be opened again"),
            Fault::Corrupt(reason) => write!(f, "the store file is damaged: {reason}"),
            Fault::Io(error) => error.fmt(f),
            Fault::InUse => f.write_str("the store file is in use by another process"),
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) if is_full(&error) => Fault::Full,
            redb::Error::Io(error) => match error.kind() {
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                    Fault::Corrupt(error.to_string())
                }
                _ => Fault::Io(error),
            },
            redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_) => Fault::Stale,
            redb::Error::DatabaseAlreadyOpen => Fault::InUse,
            other => Fault::Corrupt(other.to_string()),
        }
    }
}

/// Runs work on the database. redb asserts what a damaged file may not keep; such a panic becomes
/// an error here, so that it ends neither the committer nor a reader.
pub(super) fn guarded<T, E: From<Fault>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("inconsistent content");
        Err(Fault::Corrupt(reason.to_owned()).into())
    })
}
