//! What callers, readers and the committer have in common.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError};
use tokio::sync::watch;

use super::batch::Heads;
use super::fault::{Fault, guarded};
use super::queue::Queue;
use super::tables::{Entries, Records, decode_record, decode_value, log_name, table_name};
use crate::{CommitError, KeyValue, Log, LogRecord, Position, ReadError, Scan, Table};

pub(super) struct Shared {
    pub(super) queue: Queue,
    /// None while the file can't be opened, and once the store is closed. Readers hold the lock
    /// as long as they read, so that opening anew finds the file closed.
    pub(super) database: RwLock<Option<Database>>,
    watchers: Mutex<HashMap<Log, watch::Sender<u64>>>,
}

/// Tells a damaged value, which is the caller's answer, from a broken database.
enum Failure {
    Answer(ReadError),
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Fault(error.into())
    }
}

impl Shared {
    pub(super) fn new(queue: Queue, database: Database) -> Self {
        Self {
            queue,
            database: RwLock::new(Some(database)),
            watchers: Mutex::default(),
        }
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|transaction| {
            let name = table_name(table);
            let Some(entries) = existing(transaction.open_table(Entries::new(&name)))? else {
                return Ok(None);
            };
            let Some(stored) = entries.get(key).map_err(Fault::from)? else {
                return Ok(None);
            };
            decode_value(table, key, stored.value())
                .map(|value| Some(value.to_vec()))
                .map_err(Failure::Answer)
        })
    }

    pub(super) fn scan(&self, table: Table, scan: &Scan) -> Result<Vec<KeyValue>, ReadError> {
        self.read(|transaction| {
            let name = table_name(table);
            let Some(entries) = existing(transaction.open_table(Entries::new(&name)))? else {
                return Ok(Vec::new());
            };
            let bounds = super::range::bounds(scan);
            let Some((lower, upper)) = &bounds else {
                return Ok(Vec::new());
            };
            let range = entries
                .range::<&[u8]>((as_slice(lower), as_slice(upper)))
                .map_err(Fault::from)?;
            let decode = |entry: Result<_, redb::StorageError>| {
                let (key, stored): (redb::AccessGuard<&[u8]>, redb::AccessGuard<&[u8]>) =
                    entry.map_err(Fault::from)?;
                let value =
                    decode_value(table, key.value(), stored.value()).map_err(Failure::Answer)?;
                Ok((key.value().to_vec(), value.to_vec()))
            };
            if scan.reverse {
                range.rev().take(scan.limit).map(decode).collect()
            } else {
                range.take(scan.limit).map(decode).collect()
            }
        })
    }

    pub(super) fn read_log(
        &self,
        log: Log,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, ReadError> {
        self.read(|transaction| {
            let name = log_name(log);
            let Some(records) = existing(transaction.open_table(Records::new(&name)))? else {
                return Ok(Vec::new());
            };
            records
                .range(from..)
                .map_err(Fault::from)?
                .take(limit)
                .map(|record| {
                    let (sequence, stored) = record.map_err(Fault::from)?;
                    decode_record(log, sequence.value(), stored.value()).map_err(Failure::Answer)
                })
                .collect()
        })
    }

    pub(super) fn head(&self, log: Log) -> Result<Position, ReadError> {
        self.read(|transaction| {
            let name = log_name(log);
            let Some(records) = existing(transaction.open_table(Records::new(&name)))? else {
                return Ok(Position::EMPTY);
            };
            let Some((sequence, stored)) = records.last().map_err(Fault::from)? else {
                return Ok(Position::EMPTY);
            };
            decode_record(log, sequence.value(), stored.value())
                .map(|last| Position {
                    sequence: last.sequence,
                    hash: last.hash,
                })
                .map_err(Failure::Answer)
        })
    }

    pub(super) fn watch(&self, log: Log) -> watch::Receiver<u64> {
        // The head is read under the lock: a commit after that finds the new watcher.
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers
            .entry(log)
            .or_insert_with(|| watch::Sender::new(self.head(log).map_or(0, |head| head.sequence)))
            .subscribe()
    }

    pub(super) fn announce(&self, heads: &Heads) {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for (log, watcher) in &*watchers {
            if let Some(head) = heads.get(log) {
                watcher.send_if_modified(|seen| {
                    let news = *seen < head.sequence;
                    *seen = head.sequence.max(*seen);
                    news
                });
            }
        }
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, ReadError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err(ReadError::Unavailable(
                "the store file is not open".to_owned(),
            ));
        };
        let result = guarded(|| {
            let transaction = database.begin_read().map_err(Fault::from)?;
            work(&transaction)
        });
        result.map_err(|failure| match failure {
            Failure::Answer(error) => error,
            Failure::Fault(Fault::Corrupt(reason)) => ReadError::Corrupt {
                place: "the store file".to_owned(),
                reason,
            },
            Failure::Fault(fault) => {
                let reason = fault.to_string();
                self.queue.suspect(CommitError::Unavailable(reason.clone()));
                ReadError::Unavailable(reason)
            }
        })
    }
}

/// A table nobody wrote to yet is an empty one.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, Failure> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(Failure::Fault(Fault::from(error))),
    }
}

fn as_slice(bound: &std::ops::Bound<Vec<u8>>) -> std::ops::Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
