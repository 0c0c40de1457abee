//! Finding out whether a trail is the one that was written.

use std::fmt;

use nexus_store::{LogRecord, Position, Store, link};

use crate::checkpoint::Purpose;
use crate::trail::stored_checkpoint;
use crate::{AuditError, Checkpoint, Event, EventKind, LOG, VerifyingKey};

/// Records read at a time.
const PAGE: usize = 1000;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Another record was due: one was dropped, repeated or moved.
    OutOfOrder {
        /// The sequence number that was due.
        expected: u64,
        /// The one that was found.
        found: u64,
    },
    /// The record does not follow from the one before it.
    NotLinked {
        /// Its sequence number.
        sequence: u64,
    },
    /// The record was edited: its content does not have its hash.
    Edited {
        /// Its sequence number.
        sequence: u64,
    },
    /// The record is not an event.
    NotAnEvent {
        /// Its sequence number.
        sequence: u64,
    },
    /// A checkpoint was not signed by the key.
    NotSigned {
        /// The sequence number the checkpoint is for.
        checkpoint: u64,
    },
    /// The trail has another record where a checkpoint was made: it was rewritten.
    Rewritten {
        /// The sequence number the checkpoint is for.
        checkpoint: u64,
    },
    /// The first records are missing, and the host has not signed that it let go of them.
    Beheaded {
        /// The first record there is.
        first: u64,
    },
    /// The host has let go of the record that a kept checkpoint is for. A newer one is needed.
    Pruned {
        /// The sequence number the checkpoint is for.
        checkpoint: u64,
        /// The first record there is.
        first: u64,
    },
    /// The trail ends before a checkpoint: its end was cut off.
    Cut {
        /// The last record there is.
        head: u64,
        /// The sequence number the checkpoint is for.
        checkpoint: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::OutOfOrder { expected, found } => {
                write!(f, "record {found} stands where record {expected} belongs")
            }
            Fault::NotLinked { sequence } => {
                write!(
                    f,
                    "record {sequence} does not follow from the one before it"
                )
            }
            Fault::Edited { sequence } => write!(f, "record {sequence} was edited"),
            Fault::NotAnEvent { sequence } => write!(f, "record {sequence} is not an event"),
            Fault::NotSigned { checkpoint } => {
                write!(
                    f,
                    "the checkpoint at record {checkpoint} is not signed by the key"
                )
            }
            Fault::Rewritten { checkpoint } => {
                write!(f, "record {checkpoint} is not the one its checkpoint signs")
            }
            Fault::Beheaded { first } => write!(
                f,
                "the trail begins at record {first}, and nothing signed says that the host let go of those before it"
            ),
            Fault::Pruned { checkpoint, first } => write!(
                f,
                "the trail begins at record {first}, and the checkpoint at record {checkpoint} is older; keep a newer one"
            ),
            Fault::Cut { head, checkpoint } => write!(
                f,
                "the trail ends at record {head}, before the checkpoint at record {checkpoint}"
            ),
        }
    }
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Records seen.
    pub records: u64,
    /// The last of those that the host has let go of, zero if the trail is whole.
    pub pruned: u64,
    /// The last of them.
    pub head: Position,
    /// Checkpoints that are signed by the key and hold.
    pub checkpoints: u64,
    /// The last record that such a checkpoint covers. Whoever can write to the disk could have
    /// changed what comes after.
    pub covered: u64,
    /// What is wrong; empty if nothing is.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Verifies a trail one record at a time.
#[derive(Clone, Debug)]
pub struct Verifier<'k> {
    key: &'k VerifyingKey,
    /// Where the trail begins: after what the host has let go of.
    base: Position,
    /// Whether the host has signed that.
    based: bool,
    /// The hash of each record since, in order.
    hashes: Vec<[u8; 32]>,
    head: Position,
    records: u64,
    checkpoints: u64,
    covered: u64,
    faults: Vec<Fault>,
}

impl<'k> Verifier<'k> {
    /// Starts before the first record.
    pub fn new(key: &'k VerifyingKey) -> Self {
        Self {
            key,
            base: Position::EMPTY,
            based: true,
            hashes: Vec::new(),
            head: Position::EMPTY,
            records: 0,
            checkpoints: 0,
            covered: 0,
            faults: Vec::new(),
        }
    }

    /// Takes the next record, as it is stored.
    pub fn record(&mut self, record: &LogRecord) {
        let sequence = record.sequence;
        if self.records == 0 && sequence > 1 {
            // Taken as the beginning until the end shows whether the host says so.
            self.based = false;
            self.base = Position {
                sequence: sequence - 1,
                hash: record.previous,
            };
            self.head = self.base;
        }
        self.records += 1;
        let expected = self.head.sequence.saturating_add(1);
        if sequence != expected {
            self.faults.push(Fault::OutOfOrder {
                expected,
                found: sequence,
            });
        }
        if record.previous != self.head.hash {
            self.faults.push(Fault::NotLinked { sequence });
        }
        if record.hash != link(&record.previous, sequence, &record.record) {
            self.faults.push(Fault::Edited { sequence });
        }
        match Event::decode(&record.record) {
            None => self.faults.push(Fault::NotAnEvent { sequence }),
            Some(event) if event.kind == EventKind::Checkpoint => {
                match serde_json::from_value::<Checkpoint>(event.detail) {
                    // What it signs was let go of.
                    Ok(checkpoint) if checkpoint.sequence < self.base.sequence => {}
                    Ok(checkpoint) => self.checkpoint(&checkpoint),
                    Err(_) => self.faults.push(Fault::NotAnEvent { sequence }),
                }
            }
            Some(mut event) if event.kind == EventKind::TrailPruned => {
                match serde_json::from_value::<Checkpoint>(event.detail["pruned"].take()) {
                    Ok(word) => self.pruned(&word),
                    Err(_) => self.faults.push(Fault::NotAnEvent { sequence }),
                }
            }
            Some(_) => {}
        }
        // One fault is one change: what follows is measured against what is here.
        self.head = Position {
            sequence,
            hash: record.hash,
        };
        self.hashes.push(record.hash);
    }

    /// What is wrong so far.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Takes the host's word for what it let go of.
    fn pruned(&mut self, word: &Checkpoint) {
        if !word.is_signed_as(Purpose::Pruned, self.key) {
            self.faults.push(Fault::NotSigned {
                checkpoint: word.sequence,
            });
        } else if (word.sequence, word.hash) == (self.base.sequence, self.base.hash) {
            self.based = true;
        }
    }

    /// Holds the trail so far against a checkpoint.
    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let at = checkpoint.sequence;
        if !checkpoint.is_signed_by(self.key) {
            self.faults.push(Fault::NotSigned { checkpoint: at });
        } else if self.holds(at, checkpoint.hash) {
            self.checkpoints += 1;
            self.covered = self.covered.max(at);
        }
    }

    /// Holds the trail so far against the position of one record, as whoever saw it remembers it.
    pub fn position(&mut self, seen: &Position) {
        self.holds(seen.sequence, seen.hash);
    }

    fn holds(&mut self, at: u64, hash: [u8; 32]) -> bool {
        let found = match at.checked_sub(self.base.sequence) {
            None => {
                self.faults.push(Fault::Pruned {
                    checkpoint: at,
                    first: self.base.sequence + 1,
                });
                return false;
            }
            Some(0) => Some(self.base.hash),
            Some(place) => usize::try_from(place - 1)
                .ok()
                .and_then(|place| self.hashes.get(place).copied()),
        };
        match found {
            Some(found) if found == hash => return true,
            Some(_) => self.faults.push(Fault::Rewritten { checkpoint: at }),
            None => self.faults.push(Fault::Cut {
                head: self.head.sequence,
                checkpoint: at,
            }),
        }
        false
    }

    /// Ends the trail, and holds it against a checkpoint that was kept elsewhere.
    pub fn finish(mut self, expected: Option<&Checkpoint>) -> Report {
        if let Some(expected) = expected {
            self.checkpoint(expected);
        }
        if !self.based {
            self.faults.push(Fault::Beheaded {
                first: self.base.sequence + 1,
            });
        }
        Report {
            records: self.records,
            pruned: self.base.sequence,
            head: self.head,
            checkpoints: self.checkpoints,
            covered: self.covered,
            faults: self.faults,
        }
    }
}

/// Verifies a copy of a trail, from its first record on.
///
/// Finds every edit, reorder, restamp, drop and insertion up to the last checkpoint in the trail
/// that was not itself removed, and up to `expected` all of them, cut ends included.
pub fn verify(
    records: impl IntoIterator<Item = LogRecord>,
    key: &VerifyingKey,
    expected: Option<&Checkpoint>,
) -> Report {
    let mut verifier = Verifier::new(key);
    for record in records {
        verifier.record(&record);
    }
    verifier.finish(expected)
}

/// Hands every record of the trail in a store to `take`, as it is stored, and returns the checkpoint
/// that is stored beside it.
pub async fn read_store(
    store: &dyn Store,
    mut take: impl FnMut(&LogRecord),
) -> Result<Option<Checkpoint>, AuditError> {
    // Read first: the trail only grows while it is being read.
    let stored = stored_checkpoint(store).await?;
    let mut from = 0;
    loop {
        let page = store.read_log(LOG, from, PAGE).await;
        let page = page.map_err(AuditError::Read)?;
        page.iter().for_each(&mut take);
        match page.last() {
            Some(last) if page.len() == PAGE && last.sequence < u64::MAX => {
                from = last.sequence + 1;
            }
            _ => return Ok(stored),
        }
    }
}

/// Verifies the trail in a store, also against the latest checkpoint stored beside it.
pub async fn verify_store(
    store: &dyn Store,
    key: &VerifyingKey,
    expected: Option<&Checkpoint>,
) -> Result<Report, AuditError> {
    let mut verifier = Verifier::new(key);
    let stored = read_store(store, |record| verifier.record(record)).await?;
    if let Some(stored) = &stored {
        verifier.checkpoint(stored);
    }
    Ok(verifier.finish(expected))
}
