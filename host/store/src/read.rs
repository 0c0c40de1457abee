//! What is asked of, and comes back from, a read.

/// Which entries of a table to return, in byte order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that start with this.
    pub prefix: Vec<u8>,
    /// Only keys that come after this one in the direction of the scan.
    pub after: Option<Vec<u8>>,
    /// At most so many entries.
    pub limit: usize,
    /// Last key first.
    pub reverse: bool,
}

impl Default for Scan {
    /// All entries, first key first.
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            after: None,
            limit: usize::MAX,
            reverse: false,
        }
    }
}

impl Scan {
    /// All entries whose key starts with `prefix`, first key first.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }
}

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// One record of a log, exactly as it is stored.
///
/// Reading does not check the chain: an auditor has to see what is there. Whoever relies on it
/// compares `hash` with [`link`](crate::link).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// One for the first record, without gaps.
    pub sequence: u64,
    /// How often the store had been opened when the record was appended. Tells apart what
    /// different owners of one store wrote; not part of the hash.
    pub epoch: u64,
    /// The hash of the record before it; zeros for the first.
    pub previous: [u8; 32],
    /// The record's own hash.
    pub hash: [u8; 32],
    /// What was appended.
    pub record: Vec<u8>,
}
