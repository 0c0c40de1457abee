//! The rows as they are stored, and what binds them.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_manifest::{Origin, SecretName};
use nexus_store::Table;
use serde::{Deserialize, Serialize};

use crate::cipher::Key;
use crate::error::Error;
use crate::kdf::Kdf;
use crate::recovery::Recovery;

/// The format this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;
/// What stands among the bindings of a value that agents may be given.
pub(crate) const REVEALABLE: &[u8] = b"revealable";
/// The secrets, by name.
pub(crate) const SECRETS: Table = Table("vault_secrets");
/// The vault's own row.
pub(crate) const META: Table = Table("vault_meta");
pub(crate) const META_KEY: &[u8] = b"vault";

/// Which vault this is and which key it is sealed with.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    /// Random, so that rows of two vaults can't be exchanged even under one master key.
    pub(crate) vault: String,
    pub(crate) key_id: String,
    /// The key for other data at rest, wrapped by the master key.
    pub(crate) sealing: Wrapped,
    /// How the master key follows from a passphrase, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kdf: Option<Kdf>,
    pub(crate) recovery: Recovery,
}

/// A secret, or what is left of a deleted one: its version must not be used again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) format: u32,
    pub(crate) version: u64,
    pub(crate) updated_ms: u64,
    pub(crate) audience: Vec<Origin>,
    /// Whether an agent may be given the value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) revealable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    pub(crate) data_key: Wrapped,
    pub(crate) value: Wrapped,
}

/// Sealed bytes, base64 in the row.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Wrapped(pub(crate) Vec<u8>);

impl TryFrom<String> for Wrapped {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<Wrapped> for String {
    fn from(wrapped: Wrapped) -> Self {
        STANDARD.encode(wrapped.0)
    }
}

/// Wraps the key for other data at rest.
pub(crate) fn wrap_sealing(
    master: &Key,
    vault: &str,
    key_id: &str,
    sealing: &Key,
) -> Result<Wrapped, Error> {
    let bindings = sealing_bindings(vault, key_id);
    Ok(Wrapped(master.seal(&parts(&bindings), sealing.as_bytes())?))
}

pub(crate) fn unwrap_sealing(master: &Key, meta: &Meta) -> Result<Key, Error> {
    let bindings = sealing_bindings(&meta.vault, &meta.key_id);
    master
        .open(&parts(&bindings), &meta.sealing.0)
        .ok()
        .and_then(|bytes| Key::from_slice(&bytes))
        .ok_or_else(|| Error::Tampered {
            what: "the vault's own row".to_owned(),
        })
}

/// Wraps a secret's data key.
pub(crate) fn wrap_data_key(
    master: &Key,
    vault: &str,
    key_id: &str,
    name: &SecretName,
    version: u64,
    data_key: &Key,
) -> Result<Wrapped, Error> {
    let bindings = data_key_bindings(vault, key_id, name, version);
    Ok(Wrapped(
        master.seal(&parts(&bindings), data_key.as_bytes())?,
    ))
}

pub(crate) fn unwrap_data_key(
    master: &Key,
    vault: &str,
    name: &SecretName,
    version: u64,
    sealed: &Sealed,
) -> Result<Key, Error> {
    let bindings = data_key_bindings(vault, &sealed.key_id, name, version);
    master
        .open(&parts(&bindings), &sealed.data_key.0)
        .ok()
        .and_then(|bytes| Key::from_slice(&bytes))
        .ok_or_else(|| tampered(name))
}

/// What a value is bound to, besides its data key. A rotation of the master key leaves it alone.
pub(crate) fn value_bindings(vault: &str, name: &SecretName, row: &Row) -> Vec<Vec<u8>> {
    let mut bindings = vec![
        b"nexus-vault value".to_vec(),
        FORMAT.to_be_bytes().to_vec(),
        vault.as_bytes().to_vec(),
        name.as_str().as_bytes().to_vec(),
        row.version.to_be_bytes().to_vec(),
        row.updated_ms.to_be_bytes().to_vec(),
    ];
    bindings.extend(
        row.audience
            .iter()
            .map(|origin| origin.as_str().as_bytes().to_vec()),
    );
    if row.revealable {
        // No origin is written so.
        bindings.push(REVEALABLE.to_vec());
    }
    bindings
}

pub(crate) fn parts(bindings: &[Vec<u8>]) -> Vec<&[u8]> {
    bindings.iter().map(Vec::as_slice).collect()
}

pub(crate) fn tampered(name: &SecretName) -> Error {
    Error::Tampered {
        what: format!("the secret `{name}`"),
    }
}

fn sealing_bindings(vault: &str, key_id: &str) -> Vec<Vec<u8>> {
    vec![
        b"nexus-vault sealing key".to_vec(),
        FORMAT.to_be_bytes().to_vec(),
        vault.as_bytes().to_vec(),
        key_id.as_bytes().to_vec(),
    ]
}

fn data_key_bindings(vault: &str, key_id: &str, name: &SecretName, version: u64) -> Vec<Vec<u8>> {
    vec![
        b"nexus-vault data key".to_vec(),
        FORMAT.to_be_bytes().to_vec(),
        vault.as_bytes().to_vec(),
        key_id.as_bytes().to_vec(),
        name.as_str().as_bytes().to_vec(),
        version.to_be_bytes().to_vec(),
    ]
}

pub(crate) fn parse_meta(bytes: &[u8]) -> Result<Meta, Error> {
    let what = || "the vault's own row".to_owned();
    let meta: Meta = serde_json::from_slice(bytes).map_err(|_| Error::Tampered { what: what() })?;
    check_format(meta.format, what)?;
    Ok(meta)
}

pub(crate) fn parse(name: &SecretName, bytes: &[u8]) -> Result<Row, Error> {
    let row: Row = serde_json::from_slice(bytes).map_err(|_| tampered(name))?;
    check_format(row.format, || format!("the secret `{name}`"))?;
    Ok(row)
}

fn check_format(found: u32, what: impl FnOnce() -> String) -> Result<(), Error> {
    match found.cmp(&FORMAT) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Error::TooNew {
            what: what(),
            found,
            known: FORMAT,
        }),
        // No version ever wrote a lower one.
        Ordering::Less => Err(Error::Tampered { what: what() }),
    }
}

pub(crate) fn encode(row: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and lists: nothing in these rows can fail to be written.
    serde_json::to_vec(row).unwrap_or_default()
}
