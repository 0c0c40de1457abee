//! How one log record is bound to the one before it.

use sha2::{Digest, Sha256};

/// What the first record of every log names as its predecessor.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of a record: SHA-256 over the previous hash, the sequence number as eight big-endian
/// bytes, and the record.
///
/// Both leading parts have a fixed length, so no two different inputs run into each other.
pub fn link(previous: &[u8; 32], sequence: u64, record: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(sequence.to_be_bytes());
    hasher.update(record);
    hasher.finalize().into()
}
