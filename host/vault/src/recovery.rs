//! The recovery copy: a second key to the vault, kept on paper.
//!
//! It wraps the master key, and is itself wrapped by it, so that a rotation can wrap the new master
//! key for the same piece of paper. It is told once.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cipher::Key;
use crate::error::Error;
use crate::row::{FORMAT, Wrapped, parts};

const PREFIX: &str = "nexus-recovery-1";

/// What the vault's row keeps of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recovery {
    /// The recovery key, under the master key.
    copy: Wrapped,
    /// The master key, under the recovery key.
    master: Wrapped,
    /// Whether somebody has it.
    pub(crate) told: bool,
}

/// The recovery copy as a person keeps it: `nexus-recovery-1` and 64 hexadecimal digits in groups.
/// Whoever has it and the store has every secret.
pub struct RecoveryCopy(pub(crate) Key);

impl RecoveryCopy {
    /// Reads what [`text`](Self::text) gave. Spaces, dashes and case do not matter.
    pub fn parse(text: &SecretString) -> Result<Self, Error> {
        let text = text.expose_secret().trim();
        let digits = text.strip_prefix(PREFIX).ok_or(Error::NotARecoveryCopy)?;
        let digits: Zeroizing<String> = Zeroizing::new(
            digits
                .chars()
                .filter(|c| !c.is_whitespace() && *c != '-')
                .collect(),
        );
        let bytes = hex::decode(digits.as_bytes()).map_err(|_| Error::NotARecoveryCopy)?;
        Key::from_slice(&Zeroizing::new(bytes))
            .map(Self)
            .ok_or(Error::NotARecoveryCopy)
    }

    /// The text to keep, on one line.
    pub fn text(&self) -> SecretString {
        let digits = Zeroizing::new(hex::encode(self.0.as_bytes()));
        let mut text = String::with_capacity(PREFIX.len() + 80);
        text.push_str(PREFIX);
        for (at, digit) in digits.chars().enumerate() {
            if at % 8 == 0 {
                text.push(if at == 0 { ' ' } else { '-' });
            }
            text.push(digit);
        }
        text.into()
    }
}

impl fmt::Debug for RecoveryCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryCopy").finish_non_exhaustive()
    }
}

impl Recovery {
    /// Wraps a recovery key and the master key with each other.
    pub(crate) fn wrap(vault: &str, master: &Key, copy: &Key, told: bool) -> Result<Self, Error> {
        Ok(Self {
            copy: Wrapped(master.seal(&parts(&bindings(vault, "copy")), copy.as_bytes())?),
            master: Wrapped(copy.seal(&parts(&bindings(vault, "master")), master.as_bytes())?),
            told,
        })
    }

    /// The recovery key, for who has the master key.
    pub(crate) fn copy(&self, vault: &str, master: &Key) -> Result<Key, Error> {
        open(master, vault, "copy", &self.copy).ok_or_else(|| Error::Tampered {
            what: "the vault's own row".to_owned(),
        })
    }

    /// The master key, for who has the recovery key.
    pub(crate) fn master(&self, vault: &str, copy: &Key) -> Result<Key, Error> {
        open(copy, vault, "master", &self.master).ok_or(Error::WrongRecoveryCopy)
    }
}

fn open(key: &Key, vault: &str, what: &str, wrapped: &Wrapped) -> Option<Key> {
    let bytes = key.open(&parts(&bindings(vault, what)), &wrapped.0).ok()?;
    Key::from_slice(&bytes)
}

fn bindings(vault: &str, what: &str) -> Vec<Vec<u8>> {
    vec![
        b"nexus-vault recovery".to_vec(),
        FORMAT.to_be_bytes().to_vec(),
        vault.as_bytes().to_vec(),
        what.as_bytes().to_vec(),
    ]
}
