//! The vault: secrets that agents use and never see, sealed at rest.
//!
//! Every secret has a data key of its own, wrapped by the [`MasterKey`]; both layers are
//! XChaCha20-Poly1305 with random 192-bit nonces. What is sealed is bound to the format, the
//! vault, the secret's name and version and its audience, so a row that was moved, edited or
//! taken from another vault does not open. Each change and its audit event are one commit.
//!
//! Every change also leaves, in the same commit, the entry's version and digest and the digest of the
//! whole state in the audit trail. What is opened is compared with it: an older row that was put back,
//! one by one or all together, is found, while the host runs and when it starts.
//!
//! The master key comes from a file, from elsewhere, or follows from a passphrase; a
//! [`RecoveryCopy`], told once, opens the vault when it is lost.
//!
//! A [`Secret`] carries its audience: the origins it may be sent to, always over TLS. Its value is
//! in no `Debug`, no `Display` and no error. [`Vault::seal`] is for other data at rest, such as the
//! payloads of parked approvals.

mod anchor;
mod change;
mod cipher;
#[cfg(test)]
mod crash;
mod error;
mod kdf;
mod master;
mod open;
mod recovery;
mod rotate;
mod row;
mod secret;
mod vault;
mod verify;

pub use error::{Error, MasterKeyError};
pub use master::MasterKey;
pub use nexus_manifest::SecretName;
pub use recovery::RecoveryCopy;
pub use secrecy::{ExposeSecret, SecretString};
pub use secret::{Secret, SecretInfo, Terms};
pub use vault::Vault;
pub use verify::Fault;
