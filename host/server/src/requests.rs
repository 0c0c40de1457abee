//! Requests that the client has named: a repeat is answered as the first was, and does nothing.
//!
//! A named request is claimed in the store before it does anything, and its answer is kept under
//! the claim for two days. Whoever repeats it meanwhile joins the first. A request that failed is
//! forgotten, so that it can be sent again; one that the host did not live to answer is never done
//! a second time by itself, because nobody knows how far it came.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_gate::Principal;
use nexus_manifest::Digest;
use nexus_store::{Commit, CommitError, ReadError, Scan, Store, Table, now_ms};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::fault::Fault;

const REQUESTS: Table = Table("requests");
/// The longest id that a client may choose, in bytes.
pub(crate) const MAX_ID: usize = 128;
const KEPT_MS: u64 = 48 * 60 * 60 * 1000;
const BETWEEN_PRUNES_MS: u64 = 60 * 60 * 1000;
const BATCH: usize = 200;

/// The named requests of one method. `T` is what a repeat can join while the first still runs.
#[derive(Clone)]
pub(crate) struct Requests<T>(Arc<Inner<T>>);

struct Inner<T> {
    method: &'static str,
    store: Arc<dyn Store>,
    /// One at a time looks for a claim and makes it, so that two that arrive at once are one.
    entering: tokio::sync::Mutex<()>,
    running: Mutex<HashMap<Vec<u8>, (Digest, T)>>,
    prune_at_ms: AtomicU64,
}

#[derive(Serialize, Deserialize)]
struct Row {
    /// Of the request, its id left out.
    digest: Digest,
    created_ms: u64,
    /// Hexadecimal. Absent: it runs, or the host did not live to answer it.
    answer: Option<String>,
}

/// What a named request finds.
pub(crate) enum Entered<T> {
    /// It is the first of its name and has to be done.
    First(Claim<T>),
    /// The first of its name still runs.
    Running(T),
    /// It was answered so.
    Answered(Vec<u8>),
}

/// The right, and the duty, to do a named request and to say how it ended. Dropped, it counts as
/// not answered.
pub(crate) struct Claim<T> {
    requests: Requests<T>,
    key: Vec<u8>,
    row: Row,
}

impl<T: Clone> Requests<T> {
    /// The named requests of a method, kept in this store.
    pub(crate) fn new(method: &'static str, store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Inner {
            method,
            store,
            entering: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            prune_at_ms: AtomicU64::new(0),
        }))
    }

    /// Claims the request that `principal` calls `id` and whose content has this digest. `join` is
    /// given to those who repeat it before the claim has ended. Not cancel-safe: to be called on a
    /// task of its own.
    pub(crate) async fn enter(
        &self,
        principal: &Principal,
        id: &str,
        digest: Digest,
        join: T,
    ) -> Result<Entered<T>, Status> {
        if id.len() > MAX_ID {
            let message = format!("keep it to {MAX_ID} bytes");
            return Err(Fault::invalid("request_id", message).into());
        }
        let this = &self.0;
        // No principal has a line break in its name.
        let key = format!("{}\n{}\n{id}", this.method, principal.as_str()).into_bytes();
        let _entering = this.entering.lock().await;
        let running = self.running().get(&key).cloned();
        if let Some((of, join)) = running {
            return match of == digest {
                true => Ok(Entered::Running(join)),
                false => Err(reused(id)),
            };
        }
        self.prune()
            .await
            .map_err(|error| Fault::internal(&error))?;
        let found = this.store.get(REQUESTS, &key).await;
        let found = found.map_err(|error| Fault::internal(&error))?;
        let found = found.and_then(|row| serde_json::from_slice::<Row>(&row).ok());
        if let Some(row) = found {
            if row.digest != digest {
                return Err(reused(id));
            }
            let answer = row.answer.and_then(|answer| hex::decode(answer).ok());
            return answer.map(Entered::Answered).ok_or_else(|| interrupted(id));
        }
        let row = Row {
            digest,
            created_ms: now_ms(),
            answer: None,
        };
        let mut commit = Commit::new();
        put(&mut commit, &key, &row);
        let claimed = this.store.commit(commit).await;
        claimed.map_err(|error| Fault::internal(&error))?;
        self.running().insert(key.clone(), (digest, join));
        Ok(Entered::First(Claim {
            requests: self.clone(),
            key,
            row,
        }))
    }

    /// Forgets what is old, now and then.
    async fn prune(&self) -> Result<(), PruneError> {
        let now = now_ms();
        if now < self.0.prune_at_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut after = None;
        loop {
            let scan = Scan {
                after,
                limit: BATCH,
                ..Scan::default()
            };
            let rows = self.0.store.scan(REQUESTS, scan).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let mut commit = Commit::new();
            for (key, row) in &rows {
                let row = serde_json::from_slice::<Row>(row).ok();
                // A row that does not read answers nobody.
                if row.is_none_or(|row| now.saturating_sub(row.created_ms) > KEPT_MS) {
                    commit.delete(REQUESTS, key);
                }
            }
            if !commit.operations().is_empty() {
                self.0.store.commit(commit).await?;
            }
        }
        let next = now.saturating_add(BETWEEN_PRUNES_MS);
        self.0.prune_at_ms.store(next, Ordering::Relaxed);
        Ok(())
    }
}

impl<T> Requests<T> {
    fn running(&self) -> MutexGuard<'_, HashMap<Vec<u8>, (Digest, T)>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why old rows stay.
#[derive(Debug, thiserror::Error)]
#[error("failed to forget old requests")]
enum PruneError {
    Read(#[from] ReadError),
    Commit(#[from] CommitError),
}

impl<T: Clone> Claim<T> {
    /// Keeps the answer for all who repeat the request. One that can't be kept is not given twice:
    /// a repeat is told that nobody knows.
    pub(crate) async fn answer(mut self, answer: &[u8]) {
        self.row.answer = Some(hex::encode(answer));
        let mut commit = Commit::new();
        put(&mut commit, &self.key, &self.row);
        self.end(commit).await;
    }

    /// Forgets the request, because nothing came of it.
    pub(crate) async fn forget(self) {
        let mut commit = Commit::new();
        commit.delete(REQUESTS, &self.key).urgent();
        self.end(commit).await;
    }

    async fn end(self, commit: Commit) {
        if let Err(error) = self.requests.0.store.commit(commit).await {
            tracing::warn!(%error, "the answer to a named request is not kept");
        }
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        self.requests.running().remove(&self.key);
    }
}

/// The one answer of a call, once there is one.
pub(crate) type Answer<R> = watch::Receiver<Option<Result<R, Status>>>;

impl<R: Message + Default + Clone + Sync + 'static> Requests<Answer<R>> {
    /// Does a named call once. It runs to its end though its client leaves.
    pub(crate) async fn once<F>(
        &self,
        principal: Principal,
        id: String,
        digest: Digest,
        call: F,
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let requests = self.clone();
        let called = tokio::spawn(async move {
            let (tell, answer) = watch::channel(None);
            match requests.enter(&principal, &id, digest, answer).await? {
                Entered::Answered(bytes) => {
                    R::decode(&*bytes).map_err(|error| Fault::internal(&error).into())
                }
                Entered::Running(mut answer) => {
                    let told = answer.wait_for(Option::is_some).await;
                    told.ok()
                        .and_then(|told| told.clone())
                        .unwrap_or_else(|| Err(interrupted(&id)))
                }
                Entered::First(claim) => {
                    let answer = call.await;
                    match &answer {
                        Ok(answer) => claim.answer(&answer.encode_to_vec()).await,
                        Err(_) => claim.forget().await,
                    }
                    // Nobody may have joined.
                    let _ = tell.send(Some(answer.clone()));
                    answer
                }
            }
        });
        match called.await {
            Ok(answer) => answer,
            Err(error) => Err(Fault::internal(&error).into()),
        }
    }
}

fn put(commit: &mut Commit, key: &[u8], row: &Row) {
    // Plain texts and numbers always have a JSON form.
    commit.put(REQUESTS, key, serde_json::to_vec(row).unwrap_or_default());
}

/// The answer to a request under the name of another.
pub(crate) fn reused(id: &str) -> Status {
    let message = format!(
        "the request_id {id:?} was used for another request; choose a new one for each request, and the same only to repeat one"
    );
    Fault::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message).into()
}

/// Nobody knows how far the request came.
pub(crate) fn interrupted(id: &str) -> Status {
    let message = format!(
        "the host stopped while it was at the request {id:?}, and does not do it a second time; look whether the agent is as you want it, and otherwise send it under a new request_id"
    );
    Fault::new(Code::Aborted, "REQUEST_INTERRUPTED", message).into()
}
