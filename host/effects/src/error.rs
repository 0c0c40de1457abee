//! Why an effect has no result.

use nexus_gate::StartError;
use nexus_manifest::Digest;

/// Why an effect has no result. Unless the case says otherwise, nothing took effect.
///
/// No message holds a secret, and none an address that a name resolved to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The permit could not be spent: the payload is not the one that was checked, the time ran out,
    /// the lock was engaged, or the audit can't be written.
    #[error("the effect was not started")]
    Refused(#[source] StartError),
    /// Outside what manifest, audience or network rules allow.
    #[error("{0}")]
    Forbidden(String),
    /// The call is malformed.
    #[error("{0}")]
    Invalid(String),
    /// There is no such secret.
    #[error("{0}")]
    NotFound(String),
    /// The far side was not reached; nothing was sent.
    #[error("{0}")]
    Unavailable(String),
    /// A read took too long or broke off on the way.
    #[error("{0}")]
    Timeout(String),
    /// A write was started and its end was not seen.
    #[error("the write was started and its end was not seen; its idempotency key is {key}")]
    OutcomeUnknown {
        /// The same for the same host call of the same invocation.
        key: String,
    },
    /// A limit was reached.
    #[error("{0}")]
    Exhausted(String),
    /// The disk of the host is full: what can't be recorded does not happen.
    #[error("the disk of the host is full")]
    DiskFull,
    /// The host itself failed.
    #[error("{0}")]
    Other(String),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Refused(error)
    }
}

/// The key under which a repetition of this effect would be the same effect.
pub(crate) fn idempotency_key(action: &nexus_gate::Action) -> String {
    let invocation = action.context.invocation.to_string();
    Digest::of(format!("{invocation}\0{}", action.sequence).as_bytes()).to_hex()
}
