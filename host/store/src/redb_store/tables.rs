//! How entries and records are laid out in redb.

use redb::TableDefinition;

use crate::{Log, LogRecord, ReadError, Table};

/// What the store knows of itself: schema, epoch, number of commits.
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("nexus");
pub(super) const SCHEMA_KEY: &str = "schema";
pub(super) const EPOCH_KEY: &str = "epoch";
pub(super) const COMMITS_KEY: &str = "commits";
/// The layout described in this module.
pub(super) const SCHEMA: u64 = 1;

pub(super) type Entries<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;
pub(super) type Records<'a> = TableDefinition<'a, u64, &'static [u8]>;

const CHECKSUM: usize = 4;
const HEADER: usize = 8 + 32 + 32;

pub(super) fn table_name(table: Table) -> String {
    format!("table/{table}")
}

pub(super) fn log_name(log: Log) -> String {
    format!("log/{log}")
}

/// redb does not check pages as it reads them, so each value carries a checksum, which also binds
/// it to its table and key: a damaged disk gives an error, never a wrong value.
fn checksum(table: Table, key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(table.0.as_bytes());
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_be_bytes()
}

pub(super) fn encode_value(table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(CHECKSUM + value.len());
    stored.extend_from_slice(&checksum(table, key, value));
    stored.extend_from_slice(value);
    stored
}

pub(super) fn decode_value<'a>(
    table: Table,
    key: &[u8],
    stored: &'a [u8],
) -> Result<&'a [u8], ReadError> {
    match stored.split_first_chunk::<CHECKSUM>() {
        Some((sum, value)) if *sum == checksum(table, key, value) => Ok(value),
        _ => Err(ReadError::Corrupt {
            place: format!("table {table}"),
            reason: format!(
                "the value of key {} does not match its checksum",
                hex::encode(key)
            ),
        }),
    }
}

pub(super) fn encode_record(
    epoch: u64,
    previous: &[u8; 32],
    hash: &[u8; 32],
    record: &[u8],
) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER + record.len());
    stored.extend_from_slice(&epoch.to_be_bytes());
    stored.extend_from_slice(previous);
    stored.extend_from_slice(hash);
    stored.extend_from_slice(record);
    stored
}

pub(super) fn decode_record(
    log: Log,
    sequence: u64,
    stored: &[u8],
) -> Result<LogRecord, ReadError> {
    let parts = || {
        let (epoch, rest) = stored.split_first_chunk::<8>()?;
        let (previous, rest) = rest.split_first_chunk::<32>()?;
        let (hash, record) = rest.split_first_chunk::<32>()?;
        Some(LogRecord {
            sequence,
            epoch: u64::from_be_bytes(*epoch),
            previous: *previous,
            hash: *hash,
            record: record.to_vec(),
        })
    };
    parts().ok_or_else(|| ReadError::Corrupt {
        place: format!("log {log}"),
        reason: format!("record {sequence} is cut short"),
    })
}
