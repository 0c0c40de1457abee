//! Opening the vault: the right key, and nothing put back while no host was looking.

use std::sync::Arc;

use nexus_audit::{Audit, Event, EventKind};
use nexus_store::{Commit, Store, to_the_end};

use crate::anchor::{self, Anchor, Anchors};
use crate::change::{gone, own_row};
use crate::cipher::Key;
use crate::error::Error;
use crate::master::{self, MasterKey};
use crate::recovery::Recovery;
use crate::row::{self, FORMAT, META, META_KEY, Meta, encode, parse_meta};
use crate::vault::{Current, Vault};

/// What the store holds, compared with the trail.
pub(crate) struct Found {
    pub(crate) meta: Meta,
    pub(crate) bytes: Vec<u8>,
    pub(crate) anchors: Anchors,
    /// Whether a new anchor is due.
    due: bool,
}

impl Vault {
    /// Opens the vault in `store`, or makes one sealed with `master`.
    ///
    /// Refuses any other key than the one the vault was sealed with, before anything is written, and
    /// a row of its own that is not the one that the audit trail last recorded. Entries that differ
    /// from what was recorded are refused one by one, when they are to be used. Finishes a rotation
    /// of the master key that was cut short.
    pub async fn open(
        store: Arc<dyn Store>,
        audit: Audit,
        master: MasterKey,
    ) -> Result<Self, Error> {
        Self::open_or_change(store, audit, master, None).await
    }

    /// The same; a vault that is sealed with `previous` is sealed with `master` from then on, in one
    /// commit.
    pub async fn open_or_change(
        store: Arc<dyn Store>,
        audit: Audit,
        master: MasterKey,
        previous: Option<MasterKey>,
    ) -> Result<Self, Error> {
        let Some(found) = find(store.as_ref(), &audit).await? else {
            return create(store, audit, master).await;
        };
        let (key_id, kdf) = (&found.meta.key_id, found.meta.kdf.as_ref());
        match (master.settle(key_id, kdf), previous) {
            (Ok(opened), _) => {
                let due = found.due;
                let vault = found.assemble(store, audit, opened)?;
                if due {
                    vault.anchor().await?;
                }
                Ok(vault)
            }
            (Err(Error::WrongMasterKey { .. } | Error::WrongPassphrase), Some(previous)) => {
                let opened = previous.settle(key_id, kdf)?;
                let vault = found.assemble(store, audit, opened)?;
                let (opened, kdf) = master.fresh()?;
                let event = Event::new(EventKind::MasterKeyRotated)
                    .principal("host")
                    .outcome("changed");
                let mut changing = vault.changing().await?;
                vault.rewrap(&mut changing, opened, kdf, event).await?;
                drop(changing);
                Ok(vault)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Whether `store` holds a vault, so that its key has to be there already.
    pub async fn exists(store: &dyn Store) -> Result<bool, Error> {
        let meta = store.get(META, META_KEY).await;
        Ok(meta.map_err(Error::Read)?.is_some())
    }

    /// Records in the trail what the vault holds now, so that earlier records of it may be let go of.
    pub async fn anchor(&self) -> Result<(), Error> {
        let vault = self.clone();
        to_the_end(async move { vault.anchor_now().await })
            .await
            .map_err(Error::Write)?
    }

    async fn anchor_now(&self) -> Result<(), Error> {
        let _changing = self.changing().await?;
        let own = self.current().bytes.clone();
        let state = anchor::state(&own, &self.anchors());
        let mut commit = Commit::new();
        // What is recorded is what is there.
        commit.expect_value(META, META_KEY, own);
        let event = Event::new(EventKind::VaultAnchored).principal("host");
        let (store, audit) = (self.0.store.as_ref(), &self.0.audit);
        anchor::append(&mut commit, store, audit, event, &state).await?;
        store.commit(commit).await.map(drop).map_err(own_row)
    }
}

impl Found {
    pub(crate) fn assemble(
        self,
        store: Arc<dyn Store>,
        audit: Audit,
        master: master::Opened,
    ) -> Result<Vault, Error> {
        let current = Current::new(master, self.meta, self.bytes);
        Vault::assemble(store, audit, current, self.anchors)
    }
}

/// What the store holds; `None` if there never was a vault.
pub(crate) async fn find(store: &dyn Store, audit: &Audit) -> Result<Option<Found>, Error> {
    let latest = anchor::latest(store, audit).await?;
    let bytes = store.get(META, META_KEY).await.map_err(Error::Read)?;
    let Some(bytes) = bytes else {
        return match latest.state {
            None => Ok(None),
            Some(_) => Err(gone()),
        };
    };
    let meta = parse_meta(&bytes)?;
    let mut anchors = Anchors::new();
    for (name, row) in Vault::rows(store).await? {
        // What can't be read is in no recorded state.
        let anchor = row.map_or(
            Anchor {
                version: 0,
                digest: None,
            },
            |row| Anchor {
                version: row.version,
                digest: Some(anchor::entry(&name, &row)),
            },
        );
        anchors.insert(name, anchor);
    }
    let state = anchor::state(&bytes, &anchors);
    let due = latest.far;
    match latest.state {
        Some(recorded) if recorded == state => {}
        Some(recorded) if recorded.meta != state.meta => return Err(gone()),
        Some(_) => compare(audit, &mut anchors).await?,
        None if latest.pruned => {
            tracing::warn!(
                "the audit trail no longer reaches back to the last change of the vault: entries put back before now can't be told"
            );
        }
        None => return Err(gone()),
    }
    Ok(Some(Found {
        meta,
        bytes,
        anchors,
        due,
    }))
}

/// Finds the entries that are not as they were last recorded, and marks them.
async fn compare(audit: &Audit, anchors: &mut Anchors) -> Result<(), Error> {
    let mut recorded = anchor::recorded(audit).await?;
    for (name, found) in anchors.iter_mut() {
        let expected = recorded.remove(name.as_str());
        let same = expected.as_ref().is_some_and(|(version, digest)| {
            *version == found.version && found.digest.is_some_and(|d| hex::encode(d) == *digest)
        });
        if !same {
            tracing::error!(secret = %name, "a secret's row was changed outside the vault; it is not used until it is set anew");
            found.version = expected.map_or(found.version, |(version, _)| version);
            found.digest = None;
        }
    }
    for (name, (version, _)) in recorded {
        if let Ok(name) = name.parse() {
            tracing::error!(secret = %name, "a secret's row was removed outside the vault; it is not used until it is set anew");
            let anchor = Anchor {
                version,
                digest: None,
            };
            anchors.insert(name, anchor);
        }
    }
    Ok(())
}

/// Makes the vault's own row. Of two callers at once, both get the row that was written first.
async fn create(store: Arc<dyn Store>, audit: Audit, master: MasterKey) -> Result<Vault, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::Random(e.to_string()))?;
    let vault = hex::encode(id);
    let (opened, kdf) = master.fresh()?;
    let key_id = master::id(&opened.key);
    let meta = Meta {
        format: FORMAT,
        sealing: row::wrap_sealing(&opened.key, &vault, &key_id, &Key::generate()?)?,
        recovery: Recovery::wrap(&vault, &opened.key, &Key::generate()?, false)?,
        vault,
        key_id,
        kdf,
    };
    let bytes = encode(&meta);
    let anchors = Anchors::new();
    let state = anchor::state(&bytes, &anchors);
    let mut commit = Commit::new();
    commit
        .expect_absent(META, META_KEY)
        .put(META, META_KEY, bytes.clone());
    let event = Event::new(EventKind::VaultAnchored).principal("host");
    anchor::append(&mut commit, store.as_ref(), &audit, event, &state).await?;
    if let Err(error) = store.commit(commit).await {
        let Some(found) = find(store.as_ref(), &audit).await? else {
            return Err(Error::Write(error));
        };
        // Only the same key opens it; one of a passphrase has another salt by now.
        let key_id = &found.meta.key_id;
        let expected = key_id.clone();
        if master::id(&opened.key) != *key_id {
            return Err(Error::WrongMasterKey {
                expected,
                found: master::id(&opened.key),
            });
        }
        return found.assemble(store, audit, opened);
    }
    let current = Current::new(opened, meta, bytes);
    Vault::assemble(store, audit, current, anchors)
}
