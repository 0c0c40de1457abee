//! Forges in the store: their messages, which only ever grow by addition.

use nexus_forge::ForgeId;
use nexus_proto::v1;
use nexus_store::{Commit, CommitError, ReadError, Scan, Store, Table, now_ms};
use prost::Message as _;

use super::live::has_ended;

/// The forges, by time.
const FORGES: Table = Table("forges");
/// Their events, by forge and sequence.
const EVENTS: Table = Table("forge-events");
/// Forges that have ended and are kept.
const KEPT: usize = 500;
/// And how long.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
const PAGE: usize = 100;

/// Why a forge can't be read or forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("read the forges")]
    Read(#[source] ReadError),
    #[error("read a forge")]
    Malformed(#[source] prost::DecodeError),
    #[error("change the forges")]
    Commit(#[source] CommitError),
}

/// Writes a forge as it stands and the events that brought it there.
pub(super) async fn write(
    store: &dyn Store,
    id: ForgeId,
    forge: &v1::Forge,
    events: &[v1::ForgeEvent],
) -> Result<(), CommitError> {
    let mut commit = Commit::new();
    put(&mut commit, id, forge, events);
    store.commit(commit).await.map(drop)
}

/// Adds the same to a commit.
pub(super) fn put(commit: &mut Commit, id: ForgeId, forge: &v1::Forge, events: &[v1::ForgeEvent]) {
    commit.put(FORGES, id.as_bytes(), forge.encode_to_vec());
    for event in events {
        commit.put(EVENTS, key(id, event.sequence), event.encode_to_vec());
    }
}

pub(super) async fn read(store: &dyn Store, id: ForgeId) -> Result<Option<v1::Forge>, RowError> {
    let row = store.get(FORGES, id.as_bytes()).await;
    row.map_err(RowError::Read)?
        .map(|row| v1::Forge::decode(&*row).map_err(RowError::Malformed))
        .transpose()
}

pub(super) async fn events(
    store: &dyn Store,
    id: ForgeId,
    after: u64,
) -> Result<Vec<v1::ForgeEvent>, RowError> {
    let scan = Scan {
        after: Some(key(id, after)),
        ..Scan::prefix(*id.as_bytes())
    };
    let rows = store.scan(EVENTS, scan).await.map_err(RowError::Read)?;
    rows.iter()
        .map(|(_, row)| v1::ForgeEvent::decode(&**row).map_err(RowError::Malformed))
        .collect()
}

/// The newest first.
pub(super) async fn list(
    store: &dyn Store,
    after: Option<ForgeId>,
    limit: usize,
    wanted: impl Fn(&v1::Forge) -> bool,
) -> Result<Vec<v1::Forge>, RowError> {
    let mut found = Vec::new();
    let mut after = after.map(|id| id.as_bytes().to_vec());
    while found.len() < limit {
        let scan = Scan {
            after,
            limit: PAGE,
            reverse: true,
            ..Scan::default()
        };
        let rows = store.scan(FORGES, scan).await.map_err(RowError::Read)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (_, row) in &rows {
            let forge = v1::Forge::decode(&**row).map_err(RowError::Malformed)?;
            if wanted(&forge) {
                found.push(forge);
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Forgets what ended long ago, or is one too many.
pub(super) async fn prune(store: &dyn Store) -> Result<(), RowError> {
    let oldest = now_ms().saturating_sub(KEPT_MS);
    let mut ended = 0;
    for forge in list(store, None, usize::MAX, |_| true).await? {
        if !has_ended(&forge) {
            continue;
        }
        ended += 1;
        let end = forge.end_time.map_or(0, |time| time.seconds);
        let recent = u64::try_from(end).unwrap_or(0) * 1000 >= oldest;
        if ended <= KEPT && recent {
            continue;
        }
        let Some(id) = id_of(&forge.name) else {
            continue;
        };
        let rows = store.scan(EVENTS, Scan::prefix(*id.as_bytes())).await;
        let mut commit = Commit::new();
        for (key, _) in rows.map_err(RowError::Read)? {
            commit.delete(EVENTS, key);
        }
        commit.delete(FORGES, id.as_bytes());
        store.commit(commit).await.map_err(RowError::Commit)?;
    }
    Ok(())
}

/// The id in `forges/{forge}`.
pub(super) fn id_of(name: &str) -> Option<ForgeId> {
    name.strip_prefix("forges/")?.parse().ok()
}

fn key(id: ForgeId, sequence: u64) -> Vec<u8> {
    [&id.as_bytes()[..], &sequence.to_be_bytes()].concat()
}
