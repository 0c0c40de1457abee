//! A secret in use.

use std::fmt;

use nexus_manifest::{Origin, SecretName};
use secrecy::{ExposeSecret as _, SecretString};

/// What an operator says of a secret besides its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The origins it may be sent to.
    pub audience: Vec<Origin>,
    /// Whether an agent may be given the value itself, if its manifest says so and a person agrees.
    pub revealable: bool,
}

/// An opened secret. The value is wiped when it is dropped, and shown by nothing but
/// [`expose`](Self::expose).
pub struct Secret {
    pub(crate) name: SecretName,
    pub(crate) version: u64,
    pub(crate) audience: Vec<Origin>,
    pub(crate) revealable: bool,
    pub(crate) value: SecretString,
}

/// What may be told about a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: SecretName,
    /// The origins it may be sent to.
    pub audience: Vec<Origin>,
    /// Grows with every change, deletions included, and is never used again.
    pub version: u64,
    /// Whether an agent may be given the value.
    pub revealable: bool,
    /// When it was last set, in milliseconds since the epoch.
    pub updated_ms: u64,
    /// Whether its row was changed outside the vault. It is not used until it is set anew, and of
    /// its audience and time nothing is told.
    pub damaged: bool,
}

impl From<Vec<Origin>> for Terms {
    /// To be sent there, and seen by nobody.
    fn from(audience: Vec<Origin>) -> Self {
        Self {
            audience,
            revealable: false,
        }
    }
}

impl Secret {
    /// The name, under which it may be shown.
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// Which change of the secret this is.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The origins it may be sent to.
    pub fn audience(&self) -> &[Origin] {
        &self.audience
    }

    /// Whether the operator named this origin for the secret. Never true of an origin without TLS.
    pub fn allows(&self, origin: &Origin) -> bool {
        origin.is_https() && self.audience.contains(origin)
    }

    /// Whether the operator lets an agent have the value.
    pub fn is_revealable(&self) -> bool {
        self.revealable
    }

    /// The value. For the egress, which puts it on the wire.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
