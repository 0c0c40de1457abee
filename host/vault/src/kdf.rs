//! From a passphrase to a key.

use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::cipher::Key;
use crate::error::Error;

const ALGORITHM: &str = "argon2id";
/// The shortest passphrase that is taken for a new vault, in characters.
pub(crate) const MIN_PASSPHRASE: usize = 12;

/// How the master key follows from the passphrase. Stored beside what it protects: whoever changes it
/// gets another key, which opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kdf {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

impl Kdf {
    /// The parameters of today, and a new salt.
    pub(crate) fn new() -> Result<Self, Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| Error::Random(e.to_string()))?;
        Ok(Self {
            algorithm: ALGORITHM.to_owned(),
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
            salt: hex::encode(salt),
        })
    }

    /// Takes a fraction of a second and the memory that the parameters name.
    pub(crate) fn derive(&self, passphrase: &SecretString) -> Result<Key, Error> {
        let damaged = || Error::Tampered {
            what: "the vault's own row".to_owned(),
        };
        // A row that asks for a terabyte or a year was not written by this program.
        if self.algorithm != ALGORITHM || self.memory_kib > 1 << 20 || self.passes > 32 {
            return Err(damaged());
        }
        let salt = hex::decode(&self.salt).map_err(|_| damaged())?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|_| damaged())?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let passphrase = passphrase.expose_secret().as_bytes();
        Key::filled(|key| argon.hash_password_into(passphrase, &salt, key)).map_err(|_| damaged())
    }
}
