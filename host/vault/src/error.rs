//! What can go wrong, without ever saying what a secret is.

use std::path::PathBuf;

use nexus_manifest::{Origin, SecretName};
use nexus_store::{CommitError, ReadError};

/// Why the vault could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no secret of this name.
    #[error("no secret is named `{0}`")]
    NotFound(SecretName),
    /// The value is empty or over the limit.
    #[error("a secret has 1 to {max} bytes, this one has {length}")]
    Length {
        /// The length given.
        length: usize,
        /// The longest one allowed.
        max: usize,
    },
    /// No origin was named, so the secret could be sent nowhere.
    #[error("name at least one origin that the secret may be sent to")]
    NoAudience,
    /// Secrets travel over TLS only.
    #[error("`{0}` is not https: a secret is never sent in clear")]
    NotHttps(Origin),
    /// The store was sealed by another master key.
    #[error(
        "this is not the vault's master key: the vault was sealed with key {expected}, this one is {found}"
    )]
    WrongMasterKey {
        /// The id of the key that the vault was sealed with.
        expected: String,
        /// The id of the key given.
        found: String,
    },
    /// The passphrase is another than the vault was sealed with.
    #[error("this is not the vault's passphrase")]
    WrongPassphrase,
    /// A new passphrase is too easily guessed.
    #[error("a passphrase has at least {} characters", crate::kdf::MIN_PASSPHRASE)]
    ShortPassphrase,
    /// The text is no recovery copy.
    #[error(
        "this is no recovery copy: it is `nexus-recovery-1` and 64 hexadecimal digits in groups of eight"
    )]
    NotARecoveryCopy,
    /// The recovery copy is another vault's, or one that was replaced.
    #[error("this recovery copy is not the one of this vault")]
    WrongRecoveryCopy,
    /// The recovery copy was told before.
    #[error("the recovery copy was given out before; a new one makes that one worthless")]
    RecoveryTold,
    /// There is no vault to restore.
    #[error("the store holds no vault")]
    NoVault,
    /// The secret is not at the version that the change was meant for.
    #[error("the secret `{0}` has changed")]
    Stale(SecretName),
    /// A row does not open: it was edited, moved, or put back from an older state.
    #[error("{what} was changed outside the vault and does not open")]
    Tampered {
        /// What was found changed.
        what: String,
    },
    /// The row was written by a newer version.
    #[error("{what} has format {found}; this version reads format {known}")]
    TooNew {
        /// What has the format.
        what: String,
        /// The format found.
        found: u32,
        /// The newest format this version reads.
        known: u32,
    },
    /// The master key comes from the environment or a command, so the vault can't put another in its
    /// place.
    #[error(
        "the master key comes from the environment or a command: put a new one there, name the old one as `previous_key` under [vault], and start the host again"
    )]
    KeyElsewhere,
    /// The system's random number generator failed.
    #[error("the system's random number generator failed: {0}")]
    Random(String),
    /// The text is too long to be sealed.
    #[error("the text is too long to be sealed")]
    TooLong,
    /// Reading the store failed.
    #[error("reading the vault's rows")]
    Read(#[source] ReadError),
    /// Writing the store failed. Should it have been changed all the same, the vault goes by that.
    #[error("writing the vault's rows")]
    Write(#[source] CommitError),
    /// The audit could not be read.
    #[error("reading the audit")]
    Audit(#[source] nexus_audit::AuditError),
    /// The file of the master key could not be replaced.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterKeyError {
    /// The file could not be read or made.
    #[error("the master key file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("the master key file {path} has mode {mode:o}: only its owner may read it (chmod 600)")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is a vault and no file with its key.
    #[error(
        "the master key file {path} is missing, and secrets are sealed with its key: put it back from your backup, or run `nexus vault restore` with the recovery copy"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// What should be a key is none.
    #[error("what was given as master key is none: 64 hexadecimal digits are")]
    NoKey,
    /// The file holds no key.
    #[error("the master key file {path} is damaged: restore it from your backup")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system's random number generator failed.
    #[error("the system's random number generator failed: {0}")]
    Random(String),
}

impl From<crate::cipher::SealError> for Error {
    fn from(error: crate::cipher::SealError) -> Self {
        match error {
            crate::cipher::SealError::Random(cause) => Self::Random(cause.to_string()),
            crate::cipher::SealError::TooLong => Self::TooLong,
        }
    }
}
