//! The store in one redb file of the data directory.

mod batch;
mod committer;
mod disk;
mod fault;
#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod fault_tests;
mod open;
mod queue;
mod range;
mod shared;
mod tables;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use self::committer::Committer;
use self::disk::{Directory, Disk};
use self::fault::Fault;
use self::queue::Queue;
use self::shared::Shared;
use crate::{
    Commit, CommitError, Committed, KeyValue, Log, LogRecord, OpenError, Position, ReadError, Scan,
    Store, Table,
};

/// Reads of more than this leave the calling thread.
const SHORT_READ: usize = 64;

/// What can be set about a [`RedbStore`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages of the file, in bytes.
    pub cache: usize,
    /// How long a record committed soon may wait for company; at most half a second keeps the
    /// promise of [`Store::commit_soon`].
    pub soon: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache: 64 * 1024 * 1024,
            soon: Duration::from_millis(500),
        }
    }
}

/// A [`Store`] in one redb file.
///
/// One thread writes: it takes whatever commits are in line, at most 256, and makes them durable
/// with one sync. When a write fails it opens the file anew and goes on by itself as soon as the
/// disk lets it; until then records are refused and reads continue. Four megabytes of the disk
/// are kept in reserve for [urgent](Commit::urgent) commits.
///
/// Dropping the store writes what is in line and closes the file before it returns.
pub struct RedbStore {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Whether a data directory has a store.
    pub fn exists(dir: impl AsRef<Path>) -> bool {
        dir.as_ref().join(disk::STORE).exists()
    }

    /// Opens the store of a data directory, creating both if they are not there.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::lock(dir.as_ref())?;
        directory.ensure_store(|backend| open::initialise(backend, &directory))?;
        Self::start(Arc::new(directory), options).map(Arc::new)
    }

    fn start(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let refused = |fault| open::refused(fault, &*disk);
        let mut database = open::database(&*disk, options.cache).map_err(refused)?;
        let meta = open::meta(&database).map_err(refused)?;
        if meta.schema > tables::SCHEMA {
            return Err(OpenError::TooNew {
                path: disk.path(),
                found: meta.schema,
                supported: tables::SCHEMA,
            });
        }
        let epoch = meta.epoch + 1;
        match open::take_ownership(&database, epoch) {
            // A full disk must not keep the host from starting: its lock has to work.
            Err(Fault::Full) => {
                drop(database);
                if let Err(error) = disk.release_reserve() {
                    tracing::warn!(%error, "the reserve of the data directory could not be released");
                }
                database = open::database(&*disk, options.cache).map_err(refused)?;
                open::take_ownership(&database, epoch).map_err(refused)?;
            }
            result => result.map_err(refused)?,
        }
        if !disk.reserve_held()
            && let Err(error) = disk.hold_reserve()
        {
            tracing::warn!(%error, "there is no space for the reserve of the data directory");
        }
        let shared = Arc::new(Shared::new(Queue::new(options.soon), database));
        let committer = Committer {
            shared: Arc::clone(&shared),
            disk: Arc::clone(&disk),
            cache: options.cache,
            epoch,
            commits: meta.commits,
            heads: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io {
                action: "start the writer of",
                path: disk.path(),
                source,
            })?;
        Ok(Self {
            shared,
            committer: Some(thread),
        })
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(committer) = self.committer.take() {
            // The committer does not panic: work on the database is guarded.
            let _ = committer.join();
        }
        // Should the thread be gone without closing the file, it is closed here.
        *self
            .shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        check_size(&commit)?;
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(commit, reply)?;
        answer.await.unwrap_or_else(|_| {
            Err(CommitError::Unavailable(
                "the store closed before the commit was written".to_owned(),
            ))
        })
    }

    fn commit_soon(&self, commit: Commit) -> Result<(), CommitError> {
        check_size(&commit)?;
        if !commit.only_appends() {
            return Err(CommitError::OnlyAppends);
        }
        self.shared.queue.push_soon(commit)
    }

    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.shared.get(table, key)
    }

    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<KeyValue>, ReadError> {
        if scan.limit <= SHORT_READ {
            return self.shared.scan(table, &scan);
        }
        let shared = Arc::clone(&self.shared);
        long_read(move || shared.scan(table, &scan)).await
    }

    async fn read_log(
        &self,
        log: Log,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, ReadError> {
        if limit <= SHORT_READ {
            return self.shared.read_log(log, from, limit);
        }
        let shared = Arc::clone(&self.shared);
        long_read(move || shared.read_log(log, from, limit)).await
    }

    async fn head(&self, log: Log) -> Result<Position, ReadError> {
        self.shared.head(log)
    }

    fn watch(&self, log: Log) -> watch::Receiver<u64> {
        self.shared.watch(log)
    }
}

async fn long_read<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(ReadError::Unavailable(error.to_string())))
}

fn check_size(commit: &Commit) -> Result<(), CommitError> {
    let bytes = commit.size();
    if bytes > Commit::MAX_BYTES {
        return Err(CommitError::TooLarge {
            bytes,
            limit: Commit::MAX_BYTES,
        });
    }
    Ok(())
}
