//! Entries as they are stored.

use std::collections::BTreeSet;

use nexus_gate::Label;
use nexus_manifest::SpaceName;
use nexus_store::Table;

/// The entries, by space, a zero byte, and key.
pub(super) const ENTRIES: Table = Table("memory");
/// The last revision of each space.
pub(super) const REVISIONS: Table = Table("memory_revisions");

const FORMAT: u8 = 1;

/// A stored value: format, revision, labels, bytes.
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
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&(self.labels.len() as u16).to_be_bytes());
        for label in &self.labels {
            let label = label.to_string();
            out.extend_from_slice(&(label.len() as u16).to_be_bytes());
            out.extend_from_slice(label.as_bytes());
        }
        out.extend_from_slice(&self.value);
        out
    }

    /// `None` if the bytes are no row of a format this version reads.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = bytes.split_first()? else {
            return None;
        };
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first_chunk::<2>()?;
        let mut labels = BTreeSet::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (label, tail) = tail.split_at_checked(u16::from_be_bytes(*length).into())?;
            labels.insert(std::str::from_utf8(label).ok()?.parse().ok()?);
            rest = tail;
        }
        Some(Self {
            revision: u64::from_be_bytes(*revision),
            labels,
            value: rest.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_and_stumps_are_not() {
        let row = Row {
            revision: u64::MAX - 1,
            labels: [Label::Untrusted, Label::Secret("key".to_owned())].into(),
            value: b"\0value".to_vec(),
        };
        let bytes = row.encode();
        assert_eq!(Row::decode(&bytes).as_ref(), Some(&row));
        for length in 0..bytes.len() - row.value.len() {
            assert_eq!(Row::decode(&bytes[..length]), None);
        }
        assert_eq!(Row::decode(b"\x02\0\0\0\0\0\0\0\0\0\0"), None);
    }
}
