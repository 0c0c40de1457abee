//! A transaction as a value.

use std::fmt;

/// A keyed table. Crates that keep state declare theirs as constants; the name is part of the
/// format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str);

/// An append-only, hash-chained log. The name is part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log(pub &'static str);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What must hold for a commit to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The key has no value.
    Absent {
        /// Where to look.
        table: Table,
        /// The key that must be free.
        key: Vec<u8>,
    },
    /// The key has exactly this value.
    Value {
        /// Where to look.
        table: Table,
        /// The key to compare.
        key: Vec<u8>,
        /// The value it must have.
        value: Vec<u8>,
    },
}

/// What a commit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key, whatever it was.
    Put {
        /// The table written to.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key; one that is not there is no error.
    Delete {
        /// The table written to.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// Adds a record to the end of a log.
    Append {
        /// The log.
        log: Log,
        /// The record.
        record: Vec<u8>,
    },
    /// Removes the beginning of a log.
    Trim {
        /// The log.
        log: Log,
        /// The sequence number of the first record that stays.
        before: u64,
    },
}

/// Expectations and operations that take effect together or not at all.
///
/// All expectations are evaluated before the first operation, operations run in the order given.
/// A commit with neither is a barrier: when it returns, everything before it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a commit does nothing until a store runs it"]
pub struct Commit {
    expectations: Vec<Expectation>,
    operations: Vec<Operation>,
    urgent: bool,
}

impl Commit {
    /// The most a single commit may carry; anything larger belongs into a blob.
    pub const MAX_BYTES: usize = 64 * 1024 * 1024;

    /// A commit that expects and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that `key` has no value.
    pub fn expect_absent(&mut self, table: Table, key: impl AsRef<[u8]>) -> &mut Self {
        self.expectations.push(Expectation::Absent {
            table,
            key: key.as_ref().to_vec(),
        });
        self
    }

    /// Requires that `key` has exactly this value.
    pub fn expect_value(
        &mut self,
        table: Table,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.expectations.push(Expectation::Value {
            table,
            key: key.as_ref().to_vec(),
            value: value.into(),
        });
        self
    }

    /// Sets `key` to `value`.
    pub fn put(
        &mut self,
        table: Table,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.operations.push(Operation::Put {
            table,
            key: key.as_ref().to_vec(),
            value: value.into(),
        });
        self
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, table: Table, key: impl AsRef<[u8]>) -> &mut Self {
        self.operations.push(Operation::Delete {
            table,
            key: key.as_ref().to_vec(),
        });
        self
    }

    /// Appends a record to a log. Its position is at the same index in [`Committed::positions`]
    /// as this append has among the commit's appends.
    pub fn append(&mut self, log: Log, record: impl Into<Vec<u8>>) -> &mut Self {
        self.operations.push(Operation::Append {
            log,
            record: record.into(),
        });
        self
    }

    /// Removes the records of a log that come before this sequence number. The last record of a log
    /// always stays: what follows is chained to it.
    pub fn trim(&mut self, log: Log, before: u64) -> &mut Self {
        self.operations.push(Operation::Trim { log, before });
        self
    }

    /// Lets this commit use the space kept in reserve when the disk is full. For what must go
    /// through even then, and is small: denials and the emergency lock.
    pub fn urgent(&mut self) -> &mut Self {
        self.urgent = true;
        self
    }

    /// What must hold.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// What is done, in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether the reserve may be used.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Whether the commit only appends, and so may be committed soon instead of now.
    pub fn only_appends(&self) -> bool {
        self.expectations.is_empty()
            && self
                .operations
                .iter()
                .all(|operation| matches!(operation, Operation::Append { .. }))
    }

    /// Bytes of keys, values and records.
    pub fn size(&self) -> usize {
        let operations = self.operations.iter().map(|operation| match operation {
            Operation::Put { key, value, .. } => key.len() + value.len(),
            Operation::Delete { key, .. } => key.len(),
            Operation::Append { record, .. } => record.len(),
            Operation::Trim { .. } => 0,
        });
        let expectations = self
            .expectations
            .iter()
            .map(|expectation| match expectation {
                Expectation::Absent { key, .. } => key.len(),
                Expectation::Value { key, value, .. } => key.len() + value.len(),
            });
        operations.chain(expectations).sum()
    }
}

/// Where a record stands in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// One for the first record, without gaps. Zero only as the head of an empty log.
    pub sequence: u64,
    /// The record's hash, which covers everything before it.
    pub hash: [u8; 32],
}

impl Position {
    /// The head of a log that has no record yet.
    pub const EMPTY: Position = Position {
        sequence: 0,
        hash: crate::GENESIS,
    };
}

/// A commit that is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The position of each append, in the order of the commit.
    pub positions: Vec<Position>,
}
