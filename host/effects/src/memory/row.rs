//! Entries as they are stored: labels and value sealed, and bound to their place and revision.

use std::collections::BTreeSet;

use nexus_gate::Label;
use nexus_manifest::SpaceName;
use nexus_store::Table;
use nexus_vault::Vault;
use zeroize::Zeroizing;

use super::call::Key;

/// The entries, by space, a zero byte, and key.
pub(super) const ENTRIES: Table = Table("memory");
/// The last revision of each space.
pub(super) const REVISIONS: Table = Table("memory_revisions");

/// Before entries were sealed: format, revision, labels, value.
const OPEN: u8 = 1;
/// Format, revision, and the labels and the value as the vault seals them.
const SEALED: u8 = 2;

/// A stored value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) revision: u64,
    pub(super) labels: BTreeSet<Label>,
    pub(super) value: Vec<u8>,
}

/// The first byte that is no space's: names have no zero bytes.
pub(super) fn entry_key(space: &SpaceName, key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(space.as_str().len() + 1 + key.len());
    out.extend_from_slice(space.as_str().as_bytes());
    out.push(0);
    out.extend_from_slice(key.as_bytes());
    out
}

/// The key within its space.
pub(super) fn key_of(space: &SpaceName, stored: &[u8]) -> Option<String> {
    let key = stored
        .strip_prefix(space.as_str().as_bytes())?
        .strip_prefix(&[0])?;
    String::from_utf8(key.to_vec()).ok()
}

impl Row {
    /// The bytes to store at this key.
    pub(super) fn seal(&self, key: &Key, vault: &Vault) -> Result<Vec<u8>, nexus_vault::Error> {
        let mut inside = Zeroizing::new(Vec::with_capacity(64 + self.value.len()));
        inside.extend_from_slice(&(self.labels.len() as u16).to_be_bytes());
        for label in &self.labels {
            let label = label.to_string();
            inside.extend_from_slice(&(label.len() as u16).to_be_bytes());
            inside.extend_from_slice(label.as_bytes());
        }
        inside.extend_from_slice(&self.value);
        let sealed = vault.seal(&context(key, self.revision), &inside)?;
        let mut out = vec![SEALED];
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// `None` if the bytes are no row of this key that the vault has sealed.
    pub(super) fn unseal(key: &Key, bytes: &[u8], vault: &Vault) -> Option<Self> {
        let (&SEALED, rest) = bytes.split_first()? else {
            return None;
        };
        let (revision, sealed) = rest.split_first_chunk::<8>()?;
        let revision = u64::from_be_bytes(*revision);
        let inside = vault.unseal(&context(key, revision), sealed).ok()?;
        Self::read(revision, &inside)
    }

    /// Whether an earlier version wrote this, in clear.
    pub(super) fn lies_open(bytes: &[u8]) -> bool {
        bytes.first() == Some(&OPEN)
    }

    /// What an earlier version wrote.
    pub(super) fn from_open(bytes: &[u8]) -> Option<Self> {
        let (&OPEN, rest) = bytes.split_first()? else {
            return None;
        };
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        Self::read(u64::from_be_bytes(*revision), rest)
    }

    /// Labels and value.
    fn read(revision: u64, bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first_chunk::<2>()?;
        let mut labels = BTreeSet::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (label, tail) = tail.split_at_checked(u16::from_be_bytes(*length).into())?;
            labels.insert(std::str::from_utf8(label).ok()?.parse().ok()?);
            rest = tail;
        }
        Some(Self {
            revision,
            labels,
            value: rest.to_vec(),
        })
    }
}

/// What a row is bound to. A space's name has no blank, so no two rows have one text.
fn context(key: &Key, revision: u64) -> String {
    format!("memory {revision} {} {}", key.space, key.key)
}

/// The key that a row is stored at.
pub(super) fn place_of(stored: &[u8]) -> Option<Key> {
    let (space, key) = std::str::from_utf8(stored).ok()?.split_once('\0')?;
    Key::new(space.parse().ok()?, key).ok()
}
