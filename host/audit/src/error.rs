//! What can go wrong.

use std::path::PathBuf;

use nexus_store::{CommitError, ReadError};

/// Why the trail could not be opened, read or signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The trail no longer holds the record that its latest checkpoint signs. Going on would sign
    /// over what was changed.
    #[error(
        "the audit trail was changed: record {sequence} is not the one its latest checkpoint signs; restore the data directory from a backup"
    )]
    Broken {
        /// The sequence number in the checkpoint.
        sequence: u64,
    },
    /// A record of the trail is not an event.
    #[error("record {sequence} of the audit trail is not an event")]
    NotAnEvent {
        /// Its sequence number.
        sequence: u64,
    },
    /// The stored checkpoint is not one.
    #[error("the latest checkpoint of the audit trail is damaged")]
    DamagedCheckpoint,
    /// The store could not write.
    #[error("could not write to the audit trail")]
    Write(#[source] CommitError),
    /// The store could not read.
    #[error("could not read the audit trail")]
    Read(#[source] ReadError),
}

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file can be read by others than its owner.
    #[error("others than its owner can read the key {}; run `chmod 600` on it, or replace it", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
    },
    /// The file or text is no key.
    #[error("{0} is not a key: 64 hexadecimal digits are")]
    Invalid(String),
    /// The file system refused.
    #[error("could not {action} the key {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The key file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}
