//! Writing and reading the trail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_store::{Commit, CommitError, Log, Position, Store, Table};
use tokio::sync::{Mutex, watch};

use crate::checkpoint::Purpose;
use crate::{AuditError, Checkpoint, Event, EventKind, SigningKey, VerifyingKey, keeper};

/// The log that is the trail.
pub const LOG: Log = Log("audit");
pub(crate) const CHECKPOINTS: Table = Table("audit-checkpoints");
const LATEST: &[u8] = b"latest";

/// An event where it stands in the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// One for the first event, without gaps.
    pub sequence: u64,
    /// The hash of the event before it.
    pub previous: [u8; 32],
    /// The hash that binds it to all events before it.
    pub hash: [u8; 32],
    /// The bytes that the hash covers.
    pub bytes: Vec<u8>,
    /// What happened.
    pub event: Event,
}

/// The audit trail of a host. A cheap handle; clones write to the same trail.
///
/// Checkpoints are made in the background for as long as a handle lives.
#[derive(Clone, Debug)]
pub struct Audit {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: SigningKey,
    /// Notes may be on their way to the disk.
    noted: AtomicBool,
    pub(crate) latest: watch::Sender<Option<Checkpoint>>,
    /// One checkpoint at a time; the position of the record that tells of the last one made.
    pub(crate) signing: Mutex<u64>,
    keeper: std::sync::Mutex<Option<tokio::task::AbortHandle>>,
}

impl Audit {
    /// Opens the trail in a store. Refuses one that no longer holds what its latest checkpoint
    /// signs. Needs a running tokio runtime, on which checkpoints are then made.
    pub async fn open(store: Arc<dyn Store>, key: SigningKey) -> Result<Self, AuditError> {
        let latest = stored_checkpoint(&*store).await?;
        if let Some(checkpoint) = &latest {
            check(&*store, checkpoint, &key.verifying_key()).await?;
        }
        let heads = store.watch(LOG);
        let inner = Arc::new(Inner {
            store,
            key,
            noted: AtomicBool::new(false),
            latest: watch::Sender::new(latest),
            signing: Mutex::new(0),
            keeper: std::sync::Mutex::default(),
        });
        let task = tokio::spawn(keeper::keep(Arc::downgrade(&inner), heads));
        if let Ok(mut slot) = inner.keeper.lock() {
            *slot = Some(task.abort_handle());
        }
        Ok(Self { inner })
    }

    /// Adds an event to a commit: it is recorded if, and only if, the rest happens.
    pub fn append(&self, commit: &mut Commit, event: Event) {
        commit.append(LOG, event.encode());
    }

    /// Records an event; durable when it returns.
    pub async fn write(&self, event: Event) -> Result<Position, CommitError> {
        let mut commit = Commit::new();
        self.append(&mut commit, event);
        let committed = self.inner.store.commit(commit).await?;
        committed.positions.first().copied().ok_or_else(|| {
            CommitError::Unavailable("the store returned no position for the event".to_owned())
        })
    }

    /// Takes over an event without waiting for the disk: it keeps its place among all events and
    /// is durable within a second and before any later write. An error means that events can't be
    /// written at present, and that what this one tells of must not happen.
    pub fn note(&self, event: Event) -> Result<(), CommitError> {
        let mut commit = Commit::new();
        self.append(&mut commit, event);
        self.inner.store.commit_soon(commit)?;
        self.inner.noted.store(true, Ordering::Release);
        Ok(())
    }

    /// At most `limit` events, from sequence number `from` on; includes every note made before.
    pub async fn events(&self, from: u64, limit: usize) -> Result<Vec<Record>, AuditError> {
        self.settle().await;
        let records = self.inner.store.read_log(LOG, from, limit).await;
        records
            .map_err(AuditError::Read)?
            .into_iter()
            .map(|stored| match Event::decode(&stored.record) {
                Some(event) => Ok(Record {
                    sequence: stored.sequence,
                    previous: stored.previous,
                    hash: stored.hash,
                    bytes: stored.record,
                    event,
                }),
                None => Err(AuditError::NotAnEvent {
                    sequence: stored.sequence,
                }),
            })
            .collect()
    }

    /// Follows the trail: the sequence number of the last durable event.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.store.watch(LOG)
    }

    /// The last durable event: its place and the hash that covers all before it.
    pub async fn head(&self) -> Result<Position, AuditError> {
        self.inner.store.head(LOG).await.map_err(AuditError::Read)
    }

    /// Signs the head of the trail; durable when it returns. With no event since the last
    /// checkpoint, that one is returned.
    pub async fn checkpoint(&self) -> Result<Checkpoint, AuditError> {
        self.inner.checkpoint().await
    }

    /// The latest checkpoint, if there is one.
    pub fn latest_checkpoint(&self) -> Option<Checkpoint> {
        self.inner.latest.borrow().clone()
    }

    /// Follows the checkpoints.
    pub fn checkpoints(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.inner.latest.subscribe()
    }

    /// The key that verifies this trail's checkpoints.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.inner.key.verifying_key()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Waits for notes. Reading goes on if they can't be written: what is there is still there.
    async fn settle(&self) {
        if self.inner.noted.swap(false, Ordering::AcqRel)
            && let Err(error) = self.inner.store.commit(Commit::new()).await
        {
            self.inner.noted.store(true, Ordering::Release);
            tracing::warn!(%error, "the newest audit events are not written yet");
        }
    }
}

impl Inner {
    pub(crate) fn covered(&self) -> u64 {
        self.latest
            .borrow()
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.sequence)
    }

    pub(crate) async fn checkpoint(&self) -> Result<Checkpoint, AuditError> {
        let mut told = self.signing.lock().await;
        // Everything noted before this call is to be covered.
        let barrier = self.store.commit(Commit::new()).await;
        barrier.map_err(AuditError::Write)?;
        let head = self.store.head(LOG).await.map_err(AuditError::Read)?;
        let latest = self.latest.borrow().clone();
        if let Some(latest) = latest
            && (latest.sequence == head.sequence || *told == head.sequence)
        {
            return Ok(latest);
        }
        let checkpoint = Checkpoint::sign(Purpose::Head, head, &self.key);
        let encoded = serde_json::to_value(&checkpoint)
            .expect("a checkpoint is plain data, which always has a JSON form");
        let mut commit = Commit::new();
        commit.put(CHECKPOINTS, LATEST, encoded.to_string());
        // In the trail as well: a copy of it then carries its own proofs.
        let event = Event::new(EventKind::Checkpoint).detail(encoded);
        commit.append(LOG, event.encode());
        let committed = self.store.commit(commit).await.map_err(AuditError::Write)?;
        *told = committed.positions.first().map_or(0, |at| at.sequence);
        tracing::info!(
            sequence = checkpoint.sequence,
            hash = %hex::encode(checkpoint.hash),
            key = %checkpoint.key_id,
            "audit checkpoint"
        );
        self.latest.send_replace(Some(checkpoint.clone()));
        Ok(checkpoint)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(mut keeper) = self.keeper.lock()
            && let Some(task) = keeper.take()
        {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn stored_checkpoint(store: &dyn Store) -> Result<Option<Checkpoint>, AuditError> {
    match store.get(CHECKPOINTS, LATEST).await {
        Ok(None) => Ok(None),
        Ok(Some(stored)) => serde_json::from_slice(&stored)
            .map(Some)
            .map_err(|_| AuditError::DamagedCheckpoint),
        Err(error) => Err(AuditError::Read(error)),
    }
}

async fn check(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    key: &VerifyingKey,
) -> Result<(), AuditError> {
    let broken = AuditError::Broken {
        sequence: checkpoint.sequence,
    };
    // After a change of keys the old signatures are for the holders of the old public key.
    if checkpoint.key_id == key.id() && !checkpoint.is_signed_by(key) {
        return Err(broken);
    }
    let at = store.read_log(LOG, checkpoint.sequence.max(1), 1).await;
    let intact = match at.map_err(AuditError::Read)?.first() {
        Some(record) => record.sequence == checkpoint.sequence && record.hash == checkpoint.hash,
        None => false,
    };
    if intact || checkpoint.sequence == 0 {
        Ok(())
    } else {
        Err(broken)
    }
}
