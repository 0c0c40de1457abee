//! Reading and writing spaces with permits.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use nexus_audit::Audit;
use nexus_gate::{Finish, Kind, Label, Permit, StartError, kind};
use nexus_manifest::{Digest, SpaceName};
use nexus_store::{Commit, ReadError, Scan, Store};
use nexus_vault::Vault;
use serde_json::json;

use super::call::{Call, Key, Range, check_value};
use super::row::{ENTRIES, REVISIONS, Row, entry_key, key_of};
use crate::Error;

/// The most bytes of keys and values in one page; the first entry is given whatever its size.
pub const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// How many rows are read at a time, so that a page of large values is not held many times over.
const BATCH: usize = 16;

/// An entry of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key within the space.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision at which it was written.
    pub revision: u64,
    /// What was known of the data that the value came from.
    pub labels: BTreeSet<Label>,
}

/// What became of a write that was to happen only at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The new revision; `None` if the entry was at another one and nothing was written.
    pub revision: Option<u64>,
    /// What is known of the entry that it was compared with: the answer tells of it either way.
    pub labels: BTreeSet<Label>,
}

/// A part of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, by key.
    pub entries: Vec<Entry>,
    /// The key to go on after, if there are more.
    pub next: Option<String>,
}

/// The spaces. Clones share one state.
#[derive(Clone)]
pub struct Memory(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) audit: Audit,
    /// Spaces whose contents are private.
    private: BTreeSet<SpaceName>,
    /// Seals what is stored.
    pub(super) vault: Vault,
    /// One writer at a time per space: the next revision follows from the stored one.
    writers: Mutex<HashMap<SpaceName, Arc<tokio::sync::Mutex<()>>>>,
}

/// What a write does to an entry.
pub(super) enum Change<'a> {
    Put(&'a [u8]),
    /// Only if the entry is at this revision, or absent.
    PutIf(&'a [u8], Option<u64>),
    Delete,
    /// Only if the entry is at this revision.
    DeleteIf(u64),
}

/// A change worked out against what is stored now.
pub(super) enum Plan {
    Commit {
        commit: Commit,
        revision: Option<u64>,
        /// Of the entry that was looked at.
        seen: BTreeSet<Label>,
    },
    /// The entry is not at the revision named.
    Mismatch {
        /// Of the entry that was looked at.
        seen: BTreeSet<Label>,
    },
}

impl Memory {
    /// The spaces in `store`, sealed by `vault`. Operator access is recorded in `audit`.
    pub fn new(store: Arc<dyn Store>, audit: Audit, vault: Vault) -> Self {
        Self(Arc::new(Inner {
            store,
            audit,
            private: BTreeSet::new(),
            vault,
            writers: Mutex::default(),
        }))
    }

    /// The same with spaces whose contents are private, whatever a manifest says of them. To be said
    /// before the spaces are used.
    #[must_use]
    pub fn with_private(self, spaces: BTreeSet<SpaceName>) -> Self {
        Self(Arc::new(Inner {
            store: self.0.store.clone(),
            audit: self.0.audit.clone(),
            private: spaces,
            vault: self.0.vault.clone(),
            writers: Mutex::default(),
        }))
    }

    /// Whether the operator calls the space private.
    pub fn is_private(&self, space: &SpaceName) -> bool {
        self.0.private.contains(space)
    }

    /// Reads one entry.
    pub async fn get(
        &self,
        permit: Permit<kind::MemoryRead>,
        key: Key,
    ) -> Result<Option<Entry>, Error> {
        let call = Call::Get(key.clone());
        agrees(&permit, &call)?;
        permit.read(&call.payload()).await?;
        self.entry(&key).await
    }

    /// Reads a page of a range: fewer entries than asked for where they are large.
    pub async fn scan(
        &self,
        permit: Permit<kind::MemoryRead>,
        range: Range,
    ) -> Result<Page, Error> {
        let call = Call::Scan(range.clone());
        agrees(&permit, &call)?;
        permit.read(&call.payload()).await?;
        self.page(&range).await
    }

    /// Writes an entry and gives its revision. Entry, revision, approval and record are one commit.
    pub async fn put(
        &self,
        permit: Permit<kind::MemoryWrite>,
        key: Key,
        value: Bytes,
    ) -> Result<u64, Error> {
        let call = Call::Put(key.clone(), value.clone());
        let written = self.write(permit, &call, &key, Change::Put(&value)).await?;
        written
            .revision
            .ok_or_else(|| Error::Other("the write has no revision".to_owned()))
    }

    /// Writes an entry only if it is at `revision`, or absent if that is `None`.
    pub async fn put_if(
        &self,
        permit: Permit<kind::MemoryWrite>,
        key: Key,
        value: Bytes,
        revision: Option<u64>,
    ) -> Result<Compared, Error> {
        let call = Call::PutIf(key.clone(), value.clone(), revision);
        self.write(permit, &call, &key, Change::PutIf(&value, revision))
            .await
    }

    /// Removes an entry, if it is there.
    pub async fn delete(&self, permit: Permit<kind::MemoryWrite>, key: Key) -> Result<(), Error> {
        let call = Call::Delete(key.clone());
        self.write(permit, &call, &key, Change::Delete)
            .await
            .map(drop)
    }

    async fn write(
        &self,
        mut permit: Permit<kind::MemoryWrite>,
        call: &Call,
        key: &Key,
        change: Change<'_>,
    ) -> Result<Compared, Error> {
        let action = agrees(&permit, call)?;
        let labels: BTreeSet<Label> = action
            .labels
            .union(&action.context.labels)
            .cloned()
            .collect();
        let payload = call.payload();
        let writers = self.writers(&key.space);
        let _writing = writers.lock().await;
        loop {
            match self.plan(key, &change, &labels).await? {
                Plan::Commit {
                    commit,
                    revision,
                    seen: labels,
                } => match permit.try_commit(&payload, commit).await {
                    Ok(_) => return Ok(Compared { revision, labels }),
                    // A write whose caller had left was still on its way: work it out anew.
                    Err(StartError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
                Plan::Mismatch { seen: labels } => {
                    let receipt = permit.start(&payload).await?;
                    let finish = Finish {
                        ok: false,
                        result: Digest::of(b""),
                        detail: json!({ "error": "the entry is at another revision" }),
                    };
                    if let Err(error) = receipt.finish(finish).await {
                        tracing::error!(%error, "the end of an effect could not be recorded");
                    }
                    return Ok(Compared {
                        revision: None,
                        labels,
                    });
                }
            }
        }
    }

    pub(super) fn writers(&self, space: &SpaceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut writers = self
            .0
            .writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        writers.entry(space.clone()).or_default().clone()
    }

    /// The commit that makes a change, with expectations on all it was worked out from.
    pub(super) async fn plan(
        &self,
        key: &Key,
        change: &Change<'_>,
        labels: &BTreeSet<Label>,
    ) -> Result<Plan, Error> {
        let stored_key = entry_key(&key.space, &key.key);
        let mut commit = Commit::new();
        let mut seen = BTreeSet::new();
        let value = match change {
            Change::Delete => {
                commit.delete(ENTRIES, &stored_key);
                return Ok(Plan::Commit {
                    commit,
                    revision: None,
                    seen,
                });
            }
            Change::DeleteIf(expected) => {
                let expected = Some(*expected);
                if !self.expect(&mut commit, key, expected, &mut seen).await? {
                    return Ok(Plan::Mismatch { seen });
                }
                commit.delete(ENTRIES, &stored_key);
                return Ok(Plan::Commit {
                    commit,
                    revision: None,
                    seen,
                });
            }
            Change::Put(value) => value,
            Change::PutIf(value, expected) => {
                if !self.expect(&mut commit, key, *expected, &mut seen).await? {
                    return Ok(Plan::Mismatch { seen });
                }
                value
            }
        };
        check_value(value)?;
        let space = key.space.as_str().as_bytes();
        let counter = self
            .0
            .store
            .get(REVISIONS, space)
            .await
            .map_err(unreadable)?;
        let last = match &counter {
            Some(bytes) => {
                u64::from_be_bytes(bytes.as_slice().try_into().map_err(|_| damaged(key))?)
            }
            None => 0,
        };
        let revision = last + 1;
        match counter {
            Some(counter) => commit.expect_value(REVISIONS, space, counter),
            None => commit.expect_absent(REVISIONS, space),
        };
        let row = Row {
            revision,
            labels: labels.clone(),
            value: value.to_vec(),
        };
        commit.put(REVISIONS, space, revision.to_be_bytes());
        let sealed = row.seal(key, &self.0.vault);
        commit.put(ENTRIES, &stored_key, sealed.map_err(unsealable)?);
        Ok(Plan::Commit {
            commit,
            revision: Some(revision),
            seen,
        })
    }

    /// Binds a commit to an entry as it is now, and tells its labels; false if it is not at the revision
    /// named.
    async fn expect(
        &self,
        commit: &mut Commit,
        key: &Key,
        expected: Option<u64>,
        seen: &mut BTreeSet<Label>,
    ) -> Result<bool, Error> {
        let stored_key = entry_key(&key.space, &key.key);
        let stored = self
            .0
            .store
            .get(ENTRIES, &stored_key)
            .await
            .map_err(unreadable)?;
        let row = stored
            .as_deref()
            .map(|bytes| self.decode(key, bytes))
            .transpose()?;
        let revision = row.map(|row| {
            seen.extend(row.labels);
            row.revision
        });
        match stored {
            Some(stored) => commit.expect_value(ENTRIES, &stored_key, stored),
            None => commit.expect_absent(ENTRIES, &stored_key),
        };
        Ok(revision == expected)
    }

    pub(super) async fn entry(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let stored_key = entry_key(&key.space, &key.key);
        let stored = self
            .0
            .store
            .get(ENTRIES, &stored_key)
            .await
            .map_err(unreadable)?;
        let row = stored
            .as_deref()
            .map(|bytes| self.decode(key, bytes))
            .transpose()?;
        Ok(row.map(|row| entry(key.key.clone(), row)))
    }

    pub(super) async fn page(&self, range: &Range) -> Result<Page, Error> {
        let limit = range.limit as usize;
        let prefix = entry_key(&range.space, &range.prefix);
        let mut after = range
            .after
            .as_ref()
            .map(|after| entry_key(&range.space, after));
        let mut page = Page {
            entries: Vec::new(),
            next: None,
        };
        let mut bytes = 0;
        loop {
            let scan = Scan {
                prefix: prefix.clone(),
                after: after.clone(),
                limit: BATCH,
                reverse: false,
            };
            let rows = self.0.store.scan(ENTRIES, scan).await.map_err(unreadable)?;
            let more = rows.len() == BATCH;
            for (stored_key, stored) in rows {
                let key = key_of(&range.space, &stored_key).ok_or_else(|| {
                    Error::Other(format!("a key of the space {} is damaged", range.space))
                })?;
                let row = self.decode(
                    &Key {
                        space: range.space.clone(),
                        key: key.clone(),
                    },
                    &stored,
                )?;
                bytes += key.len() + row.value.len();
                let full = page.entries.len() == limit || bytes > MAX_PAGE_BYTES;
                if full && let Some(last) = page.entries.last() {
                    page.next = Some(last.key.clone());
                    return Ok(page);
                }
                page.entries.push(entry(key, row));
                after = Some(stored_key);
            }
            if !more {
                return Ok(page);
            }
        }
    }
}

impl Memory {
    fn decode(&self, key: &Key, bytes: &[u8]) -> Result<Row, Error> {
        Row::unseal(key, bytes, &self.0.vault).ok_or_else(|| damaged(key))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// Whether the permit is for this very call; its payload is compared when it is spent.
fn agrees<'p, K: Kind>(
    permit: &'p Permit<K>,
    call: &Call,
) -> Result<&'p nexus_gate::Action, Error> {
    let action = permit.action();
    if action.verb != call.verb() || action.target != call.target() {
        return Err(Error::Forbidden(
            "the permit is for another call".to_owned(),
        ));
    }
    Ok(action)
}

fn entry(key: String, row: Row) -> Entry {
    Entry {
        key,
        value: row.value,
        revision: row.revision,
        labels: row.labels,
    }
}

fn unsealable(error: nexus_vault::Error) -> Error {
    tracing::error!(%error, "an entry could not be sealed");
    Error::Other("the entry could not be sealed".to_owned())
}

fn damaged(key: &Key) -> Error {
    Error::Other(format!(
        "the entry {:?} of the space {} is damaged",
        key.key, key.space
    ))
}

fn unreadable(error: ReadError) -> Error {
    tracing::error!(%error, "a memory space could not be read");
    Error::Unavailable("the space can't be read".to_owned())
}
