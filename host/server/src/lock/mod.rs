//! The emergency lock: in memory first, then on disk, then in the trail.
//!
//! It is reached in three ways: by the API, by a Unix socket and by a file of the data directory. The
//! last two are served by plain threads, so that neither a busy runtime nor a store that can't write
//! keeps anybody from engaging it. Only the API lifts it.

mod file;
mod socket;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use nexus_audit::{Audit, Event, EventKind};
use nexus_gate::{Engaged, Gate, Lock};
use nexus_runtime::Runtime;
use nexus_store::{Commit, CommitError, ReadError, Store, Table, landed, now_ms};
use serde::Deserialize;
use tokio::runtime::Handle;

pub(crate) use file::{FILE, put as make_file};
pub(crate) use socket::{Reply, SOCKET};

const TABLE: Table = Table("emergency-lock");
const KEY: &[u8] = b"engaged";
/// How long whoever engages the lock waits for commits that were let through before.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a thread waits whose system call fails.
const MOMENT: Duration = Duration::from_millis(100);
/// How soon it is tried again to make it durable.
const AGAIN: Duration = Duration::from_secs(1);
/// So much of a reason is kept.
const REASON_BYTES: usize = 500;

/// The emergency lock of a host. A cheap handle; all clones are one lock.
#[derive(Clone)]
pub(crate) struct EmergencyLock(Arc<Inner>);

struct Inner {
    lock: Lock,
    data_dir: PathBuf,
    store: Arc<dyn Store>,
    audit: Audit,
    tokio: Handle,
    /// What is stopped.
    guarded: OnceLock<(Gate, Runtime)>,
    /// Counts the calls to engage it, so that a release that meets one gives way.
    calls: AtomicU64,
    /// Whether the file is there.
    filed: AtomicBool,
    /// Whether the row and its record are in the store.
    recorded: AtomicBool,
    /// Whether a thread tries to make it durable.
    trying: AtomicBool,
    /// One change of disk and store at a time.
    changing: Mutex<()>,
}

/// How the lock stands.
pub(crate) struct Standing {
    /// What it is engaged for, if it is.
    pub(crate) engaged: Option<Engaged>,
    /// Whether that survives the process.
    pub(crate) durable: bool,
}

/// Why the lock was not lifted. It is engaged still.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    #[error("the release could not be recorded")]
    Record(#[source] CommitError),
    #[error("failed to remove {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("somebody has engaged the lock meanwhile")]
    EngagedAgain,
}

/// Why it is not known whether the lock is engaged. Then nothing may start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("failed to read whether the emergency lock is engaged")]
    Read(#[source] ReadError),
    #[error("failed to watch {}", path.display())]
    Watch {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The row that outlives the process.
#[derive(Deserialize)]
struct Row {
    reason: String,
    by: String,
    since_ms: u64,
}

impl EmergencyLock {
    /// Reads how it stands. A row or a file, whatever is in them, is an engaged lock.
    pub(crate) async fn open(
        data_dir: &Path,
        store: Arc<dyn Store>,
        audit: Audit,
    ) -> Result<Self, OpenError> {
        let row = store.get(TABLE, KEY).await.map_err(OpenError::Read)?;
        let lock = Lock::default();
        let filed = file::exists(data_dir);
        if let Some(row) = &row {
            lock.engage(match serde_json::from_slice::<Row>(row) {
                Ok(row) => Engaged {
                    reason: row.reason,
                    by: row.by,
                    since_ms: row.since_ms,
                },
                Err(_) => engaged("its row in the store is damaged", "store"),
            });
        } else if filed {
            lock.engage(engaged(&file::reason(data_dir), "file"));
        }
        Ok(Self(Arc::new(Inner {
            lock,
            data_dir: data_dir.to_owned(),
            store,
            audit,
            tokio: Handle::current(),
            guarded: OnceLock::new(),
            calls: AtomicU64::new(0),
            filed: AtomicBool::new(filed),
            recorded: AtomicBool::new(row.is_some()),
            trying: AtomicBool::new(false),
            changing: Mutex::default(),
        })))
    }

    /// The part that the gate asks.
    pub(crate) fn in_memory(&self) -> Lock {
        self.0.lock.clone()
    }

    /// Names what is to be stopped, and begins to listen at the socket and the file.
    pub(crate) fn guard(&self, gate: Gate, runtime: Runtime) -> Result<(), OpenError> {
        let inner = &self.0;
        // Called once, by the host that opens it.
        let _ = inner.guarded.set((gate, runtime));
        let watch = |name: &str, source| OpenError::Watch {
            path: inner.data_dir.join(name),
            source,
        };
        file::watch(Arc::downgrade(inner)).map_err(|error| watch(FILE, error))?;
        socket::serve(Arc::downgrade(inner)).map_err(|error| watch(SOCKET, error))?;
        if inner.lock.check().is_err() {
            tracing::warn!("the emergency lock is engaged; `nexus lock release` lifts it");
            inner.settle_aside();
        }
        Ok(())
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.0.standing()
    }

    /// Engages it: nothing is permitted and nothing starts from now on, what runs is ended, what waits
    /// for a person is withdrawn. Returns when all of that is done and, where the disk takes it,
    /// durable; where it does not, a thread tries until it does.
    pub(crate) async fn engage(&self, reason: &str, by: &str) -> Standing {
        let (inner, reason, by) = (self.0.clone(), reason.to_owned(), by.to_owned());
        let engage = move || {
            inner.engage(&reason, &by);
            inner.settle();
        };
        if let Err(error) = tokio::task::spawn_blocking(engage).await {
            tracing::error!(%error, "the emergency lock could not be settled");
        }
        self.standing()
    }

    /// Lifts it, durably first: a crash on the way leaves it engaged.
    pub(crate) async fn release(&self, by: &str) -> Result<Standing, ReleaseError> {
        let (inner, by) = (self.0.clone(), by.to_owned());
        match tokio::task::spawn_blocking(move || inner.release(&by)).await {
            Ok(released) => released?,
            Err(error) => tracing::error!(%error, "the emergency lock could not be lifted"),
        }
        Ok(self.standing())
    }

    /// Stops listening at the socket.
    pub(crate) fn close(&self) {
        let _ = std::fs::remove_file(self.0.data_dir.join(SOCKET));
    }
}

impl Inner {
    fn standing(&self) -> Standing {
        let durable = |part: &AtomicBool| part.load(Ordering::Acquire);
        Standing {
            engaged: self.lock.engaged(),
            durable: durable(&self.filed) || durable(&self.recorded),
        }
    }

    /// The part that needs neither store nor runtime. When it returns, nothing new starts.
    fn engage(&self, reason: &str, by: &str) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let first = self.lock.engage(engaged(reason, by));
        let Some(engaged) = self.lock.engaged() else {
            return;
        };
        if first {
            tracing::warn!(reason = engaged.reason, by, "the emergency lock is engaged");
        }
        if let Err(error) = self.file(&engaged) {
            tracing::error!(%error, "the file of the emergency lock is not written");
        }
        if !first {
            return;
        }
        if !self.lock.settled(PATIENCE) {
            tracing::error!("an effect that began before the emergency lock is still on its way");
        }
        if let Some((_, runtime)) = self.guarded.get() {
            runtime.cancel_all(&engaged.to_string());
        }
    }

    /// Writes the file, unless that is done.
    fn file(&self, engaged: &Engaged) -> std::io::Result<()> {
        if !self.filed.load(Ordering::Acquire) {
            file::put(&self.data_dir, &engaged.reason)?;
            self.filed.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The part that needs the store: the row, its record, the questions. Not to be called on a thread
    /// of the runtime.
    fn settle(self: &Arc<Self>) {
        let _changing = self.changing();
        let Some(engaged) = self.lock.engaged() else {
            return;
        };
        self.tokio.block_on(async {
            if let Err(error) = self.record(&engaged).await {
                tracing::error!(%error, "that the emergency lock is engaged is not recorded");
            }
            if let Some((gate, _)) = self.guarded.get() {
                gate.withdraw_all(&engaged.to_string()).await;
            }
        });
        self.insist();
    }

    /// Tries on a thread of its own, unless it is durable, until it is or is lifted. The caller holds
    /// `changing`.
    fn insist(self: &Arc<Self>) {
        if self.standing().durable || self.trying.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::error!("the emergency lock is on no disk yet; that is tried until it is");
        let host = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("nexus-lock-disk".to_owned());
        let trying = thread.spawn(move || {
            loop {
                pause(AGAIN);
                match host.upgrade() {
                    Some(inner) if !inner.try_again() => {}
                    _ => return,
                }
            }
        });
        if let Err(error) = trying {
            self.trying.store(false, Ordering::SeqCst);
            tracing::error!(%error, "the emergency lock does not outlast this process");
        }
    }

    /// Whether there is nothing left to try.
    fn try_again(&self) -> bool {
        let _changing = self.changing();
        if let Some(engaged) = self.lock.engaged() {
            // Either is enough, and why it failed was said before.
            let _ = self.file(&engaged);
            let _ = self.tokio.block_on(self.record(&engaged));
            if !self.standing().durable {
                return false;
            }
            tracing::warn!("the emergency lock is on disk now");
        }
        self.trying.store(false, Ordering::SeqCst);
        true
    }

    /// [`settle`](Self::settle) on a thread of its own.
    fn settle_aside(self: &Arc<Self>) {
        let inner = self.clone();
        let settling = std::thread::Builder::new()
            .name("nexus-lock-settle".to_owned())
            .spawn(move || inner.settle());
        if let Err(error) = settling {
            tracing::error!(%error, "the emergency lock is engaged, and what waits is not withdrawn");
        }
    }

    /// Written out of the reserve if the disk is full.
    async fn record(&self, engaged: &Engaged) -> Result<(), CommitError> {
        if self.recorded.load(Ordering::Acquire) {
            return Ok(());
        }
        let row = serde_json::json!({
            "reason": engaged.reason, "by": engaged.by, "since_ms": engaged.since_ms,
        });
        let mut commit = Commit::new();
        commit.put(TABLE, KEY, row.to_string()).urgent();
        let event = Event::new(EventKind::LockEngaged)
            .principal(&engaged.by)
            .detail(serde_json::json!({ "reason": engaged.reason }));
        self.audit.append(&mut commit, event);
        self.store.commit(commit).await?;
        self.recorded.store(true, Ordering::Release);
        Ok(())
    }

    fn release(self: &Arc<Self>, by: &str) -> Result<(), ReleaseError> {
        let _changing = self.changing();
        let calls = self.calls.load(Ordering::SeqCst);
        let Some(engaged) = self.lock.engaged() else {
            return Ok(());
        };
        let mut commit = Commit::new();
        commit.delete(TABLE, KEY);
        let event = Event::new(EventKind::LockReleased)
            .principal(by)
            .detail(serde_json::json!({ "reason": engaged.reason, "by": engaged.by }));
        self.audit.append(&mut commit, event);
        if let Err(error) = self.tokio.block_on(self.store.commit(commit)) {
            // Then it is engaged still, and the row may be gone all the same.
            let gone = landed(&*self.store, &error, TABLE, KEY, None);
            if self.tokio.block_on(gone) {
                self.recorded.store(false, Ordering::Release);
                self.insist();
            }
            return Err(ReleaseError::Record(error));
        }
        self.recorded.store(false, Ordering::Release);
        file::remove(&self.data_dir).map_err(|source| ReleaseError::File {
            path: self.data_dir.join(FILE),
            source,
        })?;
        self.filed.store(false, Ordering::Release);
        if self.calls.load(Ordering::SeqCst) != calls {
            self.filed.store(
                file::put(&self.data_dir, &engaged.reason).is_ok(),
                Ordering::Release,
            );
            let recorded = self.tokio.block_on(self.record(&engaged));
            self.insist();
            recorded.map_err(ReleaseError::Record)?;
            return Err(ReleaseError::EngagedAgain);
        }
        self.lock.release();
        tracing::warn!(by, "the emergency lock is lifted");
        Ok(())
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn engaged(reason: &str, by: &str) -> Engaged {
    let mut reason: String = reason
        .trim()
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    reason.truncate(reason.floor_char_boundary(REASON_BYTES));
    if reason.is_empty() {
        "no reason given".clone_into(&mut reason);
    }
    Engaged {
        reason,
        by: by.to_owned(),
        since_ms: now_ms(),
    }
}

/// Runs `listen` on a plain thread for as long as the host lives.
fn spawn(
    name: &str,
    host: Weak<Inner>,
    mut listen: impl FnMut(&Weak<Inner>) + Send + 'static,
) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        while host.strong_count() > 0 {
            listen(&host);
        }
    })?;
    Ok(())
}

/// Keeps a thread whose system call fails from turning in circles.
fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own, and nothing to wait for but the system's recovery"
    )]
    std::thread::sleep(time);
}
