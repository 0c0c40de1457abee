//! What the audit trail says the vault holds.
//!
//! Sealing alone can't tell an entry from an older one of the same name, nor an empty vault from one
//! that was emptied. So each change of the vault appends, in the commit that makes it, an event with
//! the digest of the entry and of the whole state after it. A vault that is opened compares itself
//! with the latest of them, and an entry in use with what was last recorded of it.

use std::collections::BTreeMap;

use nexus_audit::{Audit, Event, EventKind, LOG};
use nexus_manifest::SecretName;
use nexus_store::{Commit, Store};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::row::{META, REVEALABLE, Row};

/// Where the search for the latest anchor may begin: a sequence number of the trail. Wrong, it costs
/// time and hides nothing.
const HINT: &[u8] = b"anchor";
/// A start that had to read more of the trail than this writes a new anchor.
const FAR: u64 = 10_000;
const PAGE: usize = 1_000;

/// What was last recorded of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) version: u64,
    /// `None` once the row was found to be another.
    pub(crate) digest: Option<[u8; 32]>,
}

pub(crate) type Anchors = BTreeMap<SecretName, Anchor>;

/// The digests of one moment: of the vault's own row, and of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) meta: String,
    pub(crate) state: String,
}

/// The latest anchor, and what stands between it and now.
pub(crate) struct Latest {
    pub(crate) state: Option<State>,
    /// Whether the beginning of the trail is no longer kept.
    pub(crate) pruned: bool,
    /// Whether the anchor is so far back that the next start should find a nearer one.
    pub(crate) far: bool,
}

/// The digest of all of an entry but the wrapping of its data key, which rotations replace and which
/// does not open under any other key.
pub(crate) fn entry(name: &SecretName, row: &Row) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(b"nexus-vault entry");
    part(name.as_str().as_bytes());
    part(&row.version.to_be_bytes());
    part(&row.updated_ms.to_be_bytes());
    part(&(row.audience.len() as u64).to_be_bytes());
    for origin in &row.audience {
        part(origin.as_str().as_bytes());
    }
    if row.revealable {
        part(REVEALABLE);
    }
    if let Some(sealed) = &row.sealed {
        part(&sealed.value.0);
    }
    hash.finalize().into()
}

/// The digests of a vault with this row of its own and these entries.
pub(crate) fn state(meta: &[u8], anchors: &Anchors) -> State {
    let meta = Sha256::digest(meta);
    let mut hash = Sha256::new();
    hash.update(b"nexus-vault state\0");
    hash.update(meta);
    for (name, anchor) in anchors {
        hash.update((name.as_str().len() as u64).to_be_bytes());
        hash.update(name.as_str().as_bytes());
        hash.update(anchor.version.to_be_bytes());
        hash.update(anchor.digest.unwrap_or_default());
    }
    State {
        meta: hex::encode(meta),
        state: hex::encode(hash.finalize()),
    }
}

/// Adds the event, with the state that the commit leads to, to the commit.
pub(crate) async fn append(
    commit: &mut Commit,
    store: &dyn Store,
    audit: &Audit,
    mut event: Event,
    state: &State,
) -> Result<(), Error> {
    if !event.detail.is_object() {
        event.detail = Value::Object(serde_json::Map::new());
    }
    event.detail["meta"] = state.meta.as_str().into();
    event.detail["state"] = state.state.as_str().into();
    let head = store.head(LOG).await.map_err(Error::Read)?;
    commit.put(META, HINT, head.sequence.to_be_bytes());
    audit.append(commit, event);
    Ok(())
}

/// Looks for the latest anchor in the trail.
pub(crate) async fn latest(store: &dyn Store, audit: &Audit) -> Result<Latest, Error> {
    let first = audit.events(1, 1).await.map_err(Error::Audit)?;
    let first = first.first().map_or(1, |record| record.sequence);
    let hint = store.get(META, HINT).await.map_err(Error::Read)?;
    let hint = hint
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes);
    let mut found = last_state(audit, hint.max(first)).await?;
    if found.is_none() && hint > first {
        found = last_state(audit, first).await?;
    }
    let head = store.head(LOG).await.map_err(Error::Read)?.sequence;
    let far = found
        .as_ref()
        .is_none_or(|(at, _)| head.saturating_sub(*at) > FAR);
    Ok(Latest {
        state: found.map(|(_, state)| state),
        pruned: first > 1,
        far,
    })
}

async fn last_state(audit: &Audit, from: u64) -> Result<Option<(u64, State)>, Error> {
    let mut last = None;
    read(audit, from, |sequence, event| {
        if let (Some(meta), Some(state)) = (
            event.detail["meta"].as_str(),
            event.detail["state"].as_str(),
        ) {
            let state = State {
                meta: meta.to_owned(),
                state: state.to_owned(),
            };
            last = Some((sequence, state));
        }
    })
    .await?;
    Ok(last)
}

/// The version and the digest that the trail last recorded of each entry.
pub(crate) async fn recorded(audit: &Audit) -> Result<BTreeMap<String, (u64, String)>, Error> {
    let mut recorded = BTreeMap::new();
    read(audit, 1, |_, event| {
        if let (Some(name), Some(version), Some(entry)) = (
            event.detail["name"].as_str(),
            event.detail["version"].as_u64(),
            event.detail["entry"].as_str(),
        ) {
            recorded.insert(name.to_owned(), (version, entry.to_owned()));
        }
    })
    .await?;
    Ok(recorded)
}

/// Reads the events that are the vault's.
async fn read(
    audit: &Audit,
    mut from: u64,
    mut each: impl FnMut(u64, &Event),
) -> Result<(), Error> {
    loop {
        let records = audit.events(from, PAGE).await.map_err(Error::Audit)?;
        let Some(last) = records.last() else {
            return Ok(());
        };
        from = last.sequence + 1;
        for record in &records {
            if is_ours(record.event.kind) {
                each(record.sequence, &record.event);
            }
        }
    }
}

fn is_ours(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::SecretSet
            | EventKind::SecretDeleted
            | EventKind::MasterKeyRotated
            | EventKind::RecoveryCopied
            | EventKind::VaultAnchored
    )
}
