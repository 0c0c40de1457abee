//! Rows of invocations: written when one waits for a person or was started with
//! a request id, completed at its end. All others cost no disk.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nexus_gate::InvocationId;
use nexus_manifest::Digest;
use nexus_store::{Commit, CommitError, ReadError, Scan, Store, Table, now_ms, unix_ms};
use serde::{Deserialize, Serialize};

use crate::invocation::{Invocation, InvocationState, Record};
use crate::listing::Wanted;
use crate::outcome::Outcome;
use crate::prepare::blocking;
use crate::runtime::Runtime;

/// By id, which sorts by time.
const ROWS: Table = Table("invocations");
/// The ids of rows that are not final, so that a start need not read them all.
const OPEN: Table = Table("invocations_open");
/// By principal and request id.
const REQUESTS: Table = Table("invocation_requests");
/// How long a request id is remembered: longer than any client goes on repeating a request.
const REQUESTS_KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// Rows changed in one commit when the host starts.
const BATCH: usize = 500;

#[derive(Serialize, Deserialize)]
struct Row {
    record: Record,
    /// The outcome holds data of callers, so it is sealed at rest.
    outcome: Option<String>,
}

/// What a request id stands for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Requested {
    pub(crate) invocation: InvocationId,
    /// Of the whole request, its id left out.
    pub(crate) digest: Digest,
    created_ms: u64,
}

fn key(id: &InvocationId) -> String {
    id.to_string()
}

fn seal_context(id: &InvocationId) -> String {
    format!("invocation outcome {id}")
}

/// Adds the row of an invocation that goes on, and remembers that it has one.
pub(crate) fn put(commit: &mut Commit, invocation: &Arc<Invocation>) {
    invocation.mark_stored();
    write(
        commit,
        Row {
            record: invocation.record(),
            outcome: None,
        },
    );
}

/// Adds the row of an invocation that has just been started with a request id.
/// The commit fails if the id is taken.
pub(crate) fn put_request(
    commit: &mut Commit,
    invocation: &Arc<Invocation>,
    request: &str,
    digest: Digest,
) {
    put(commit, invocation);
    let facts = &invocation.facts;
    let key_of_request = request_key(facts.principal.as_str(), request);
    let requested = Requested {
        invocation: facts.id,
        digest,
        created_ms: now_ms(),
    };
    commit.expect_absent(REQUESTS, &key_of_request);
    // Plain data, which always encodes.
    let row = serde_json::to_vec(&requested).unwrap_or_default();
    commit.put(REQUESTS, &key_of_request, row);
}

/// Adds the row of an invocation that has ended.
pub(crate) fn put_final(commit: &mut Commit, runtime: &Runtime, mut record: Record) {
    let outcome = record.outcome.take().and_then(|outcome| {
        let bytes = serde_json::to_vec(&outcome).ok()?;
        let sealed = runtime
            .services()
            .vault
            .seal(&seal_context(&record.id), &bytes);
        // Without a key the row still says how it ended, by its state.
        sealed.map(hex::encode).ok()
    });
    write(commit, Row { record, outcome });
}

fn write(commit: &mut Commit, row: Row) {
    let key = key(&row.record.id);
    if row.record.state.is_final() {
        commit.delete(OPEN, &key);
    } else {
        commit.put(OPEN, &key, Vec::new());
    }
    match serde_json::to_vec(&row) {
        Ok(bytes) => {
            commit.put(ROWS, &key, bytes);
        }
        // Records are plain data; should one fail, its row is missing and the
        // invocation goes on.
        Err(error) => tracing::error!(%error, invocation = key, "the row can't be written"),
    }
}

fn request_key(principal: &str, request: &str) -> Vec<u8> {
    [principal.as_bytes(), b"\0", request.as_bytes()].concat()
}

/// The invocation that was started with this request id.
pub(crate) async fn by_request(
    store: &dyn Store,
    principal: &str,
    request: &str,
) -> Result<Option<Requested>, ReadError> {
    let row = store
        .get(REQUESTS, &request_key(principal, request))
        .await?;
    Ok(row.and_then(|row| serde_json::from_slice(&row).ok()))
}

impl Runtime {
    /// Forgets the stored invocations that ended before `cutoff`, and the request ids that nobody
    /// repeats any more. Says how many invocations it forgot. Those that have not ended stay.
    pub async fn forget_invocations(&self, cutoff: SystemTime) -> Result<usize, ForgetError> {
        let cutoff = unix_ms(cutoff);
        let ended = self.sweep(ROWS, |row| {
            // A row that does not read tells nobody anything.
            serde_json::from_slice::<Row>(row).map_or(true, |row| {
                row.record.ended_ms.is_some_and(|ended| ended < cutoff)
            })
        });
        let ended = ended.await?;
        let requested = unix_ms(SystemTime::now() - REQUESTS_KEPT);
        self.sweep(REQUESTS, |row| {
            serde_json::from_slice::<Requested>(row).map_or(true, |row| row.created_ms < requested)
        })
        .await?;
        Ok(ended)
    }

    async fn sweep(&self, table: Table, old: impl Fn(&[u8]) -> bool) -> Result<usize, ForgetError> {
        let (store, mut after, mut count) = (&self.services().store, None, 0);
        loop {
            let scan = Scan {
                after,
                limit: BATCH,
                ..Scan::default()
            };
            let rows = store.scan(table, scan).await?;
            let Some((last, _)) = rows.last() else {
                return Ok(count);
            };
            after = Some(last.clone());
            let mut commit = Commit::new();
            for (key, row) in rows.iter().filter(|(_, row)| old(row)) {
                // What was written meanwhile stays.
                commit.expect_value(table, key, row.clone());
                commit.delete(table, key);
                count += 1;
            }
            if !commit.operations().is_empty() {
                store.commit(commit).await?;
            }
        }
    }
}

/// Why old invocations stay.
#[derive(Debug, thiserror::Error)]
#[error("failed to forget old invocations")]
pub enum ForgetError {
    /// They can't be read.
    Read(#[from] ReadError),
    /// Their removal can't be recorded.
    Commit(#[from] CommitError),
}

/// One row.
pub(crate) async fn get(runtime: &Runtime, id: &InvocationId) -> Result<Option<Record>, ReadError> {
    let bytes = runtime
        .services()
        .store
        .get(ROWS, key(id).as_bytes())
        .await?;
    Ok(bytes.and_then(|bytes| read(runtime, &bytes)))
}

/// At most `limit` rows before `before`, the newest first: those that are wanted with what is known
/// of them. Ends with the `room`-th of these.
pub(crate) async fn list(
    runtime: &Runtime,
    wanted: &Wanted,
    before: Option<&InvocationId>,
    limit: usize,
    room: usize,
) -> Result<Vec<(InvocationId, Option<Record>)>, ReadError> {
    let scan = Scan {
        prefix: Vec::new(),
        after: before.map(|id| key(id).into_bytes()),
        limit,
        reverse: true,
    };
    let rows = runtime.services().store.scan(ROWS, scan).await?;
    let (runtime, wanted) = (runtime.clone(), wanted.clone());
    // Rows hold outputs, sealed: much to read and to open, and none of it on a worker.
    let read = blocking(move || {
        let mut found = Vec::with_capacity(rows.len());
        let mut left = room;
        for (key, bytes) in rows {
            let Some(id) = id_of(&key) else { continue };
            let row: Option<Row> = serde_json::from_slice(&bytes).ok();
            let row = row.filter(|row| wanted.matches_record(&row.record));
            let record = row.map(|row| opened(&runtime, row));
            left -= usize::from(record.is_some());
            found.push((id, record));
            if left == 0 {
                break;
            }
        }
        found
    });
    Ok(read.await)
}

fn id_of(key: &[u8]) -> Option<InvocationId> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

fn read(runtime: &Runtime, bytes: &[u8]) -> Option<Record> {
    let row = serde_json::from_slice(bytes).ok()?;
    Some(opened(runtime, row))
}

/// What is known of the invocation of a row, its outcome with it.
fn opened(runtime: &Runtime, row: Row) -> Record {
    let Row {
        mut record,
        outcome,
    } = row;
    record.outcome = outcome.and_then(|sealed| {
        let sealed = hex::decode(sealed).ok()?;
        let bytes = runtime
            .services()
            .vault
            .unseal(&seal_context(&record.id), &sealed)
            .ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    record
}

/// Why the rows of a dead process can't be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error("read the invocations")]
    Read(#[from] ReadError),
    #[error("record the interrupted invocations")]
    Commit(#[from] CommitError),
}

/// Ends what a dead process left running: nobody can go on with it.
pub(crate) async fn interrupt_open(runtime: &Runtime) -> Result<usize, RecoverError> {
    let store = &runtime.services().store;
    let mut count = 0;
    loop {
        let scan = Scan {
            prefix: Vec::new(),
            after: None,
            limit: BATCH,
            reverse: false,
        };
        let open = store.scan(OPEN, scan).await?;
        if open.is_empty() {
            return Ok(count);
        }
        let mut commit = Commit::new();
        for (key, _) in open {
            count += 1;
            let row = store.get(ROWS, &key).await?;
            let row = row.and_then(|bytes| serde_json::from_slice::<Row>(&bytes).ok());
            match row {
                Some(Row { mut record, .. }) => {
                    record.state = InvocationState::Failed;
                    record.outcome = Some(Outcome::Interrupted);
                    record.ended_ms = Some(now_ms());
                    record.approvals.clear();
                    put_final(&mut commit, runtime, record);
                }
                None => {
                    commit.delete(OPEN, &key);
                }
            }
        }
        store.commit(commit).await?;
    }
}
