//! The vault itself: rows in, secrets out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nexus_audit::{Audit, Event, EventKind};
use nexus_manifest::SecretName;
use nexus_store::{Commit, CommitError, Scan, Store, now_ms, to_the_end};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use crate::anchor::{self, Anchor, Anchors};
use crate::change::{Change, Changing, own_row};
use crate::cipher::Key;
use crate::error::Error;
use crate::master::Opened;
use crate::row::{
    self, FORMAT, META, META_KEY, Meta, Row, SECRETS, Sealed, Wrapped, encode, parse as parse_row,
};
use crate::secret::{Secret, SecretInfo, Terms};

/// The longest value, in bytes.
const MAX_VALUE: usize = 64 * 1024;

/// The vault. Clones share one state.
#[derive(Clone)]
pub struct Vault(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Audit,
    pub(crate) id: String,
    pub(crate) sealing: Key,
    pub(crate) current: RwLock<Current>,
    /// One change at a time: a version is read and then written. Holds what a change leads to until it
    /// is known whether it was written.
    pub(crate) changing: tokio::sync::Mutex<Option<Change>>,
    /// What was last recorded of every entry. A row that differs is one that somebody put there.
    anchors: Mutex<Anchors>,
}

/// The master key in use and the row that says so.
pub(crate) struct Current {
    pub(crate) master: Opened,
    pub(crate) meta: Meta,
    pub(crate) bytes: Vec<u8>,
}

impl Current {
    /// The key is kept out of the swap from here on.
    pub(crate) fn new(master: Opened, meta: Meta, bytes: Vec<u8>) -> Self {
        let key = master.key.locked();
        let master = Opened { key, ..master };
        Self {
            master,
            meta,
            bytes,
        }
    }
}

impl Vault {
    pub(crate) fn assemble(
        store: Arc<dyn Store>,
        audit: Audit,
        current: Current,
        anchors: Anchors,
    ) -> Result<Self, Error> {
        let sealing = row::unwrap_sealing(&current.master.key, &current.meta)?.locked();
        Ok(Self(Arc::new(Inner {
            store,
            audit,
            id: current.meta.vault.clone(),
            sealing,
            current: RwLock::new(current),
            changing: tokio::sync::Mutex::default(),
            anchors: Mutex::new(anchors),
        })))
    }

    /// Sets a secret's value and what may be done with it. The row and its audit event, which names `principal`
    /// and neither the value nor its length, are one commit. Goes to its end though the caller leaves.
    pub async fn set(
        &self,
        name: &SecretName,
        value: &SecretString,
        terms: impl Into<Terms>,
        principal: &str,
    ) -> Result<SecretInfo, Error> {
        self.set_at(name, value, terms, None, principal).await
    }

    /// The same, only if the secret is at this version when it is written; otherwise [`Error::Stale`].
    pub async fn set_at(
        &self,
        name: &SecretName,
        value: &SecretString,
        terms: impl Into<Terms>,
        at: Option<u64>,
        principal: &str,
    ) -> Result<SecretInfo, Error> {
        let (vault, name, value) = (self.clone(), name.clone(), value.clone());
        let (terms, principal) = (terms.into(), principal.to_owned());
        to_the_end(async move { vault.set_now(&name, &value, terms, at, &principal).await })
            .await
            .map_err(Error::Write)?
    }

    async fn set_now(
        &self,
        name: &SecretName,
        value: &SecretString,
        terms: Terms,
        at: Option<u64>,
        principal: &str,
    ) -> Result<SecretInfo, Error> {
        let Terms {
            mut audience,
            revealable,
        } = terms;
        let length = value.expose_secret().len();
        if length == 0 || length > MAX_VALUE {
            return Err(Error::Length {
                length,
                max: MAX_VALUE,
            });
        }
        if audience.is_empty() {
            return Err(Error::NoAudience);
        }
        if let Some(plain) = audience.iter().find(|origin| !origin.is_https()) {
            return Err(Error::NotHttps(plain.clone()));
        }
        audience.sort();
        audience.dedup();

        let mut changing = self.changing().await?;
        let old = self.bytes(name).await?;
        self.expect_version(name, old.as_deref(), at)?;
        let mut row = Row {
            format: FORMAT,
            version: self.next_version(name),
            updated_ms: now_ms(),
            audience,
            revealable,
            sealed: None,
        };
        row.sealed = Some(self.seal_value(name, &row, value)?);
        let event = Event::new(EventKind::SecretSet)
            .principal(principal)
            .detail(json!({ "audience": row.audience, "revealable": row.revealable }));
        self.write(&mut changing, name, old, &row, event).await?;
        Ok(info(name.clone(), row))
    }

    /// Deletes a secret; the row keeps its last version and no value. The row and its audit event
    /// are one commit. Goes to its end though the caller leaves.
    pub async fn delete(&self, name: &SecretName, principal: &str) -> Result<(), Error> {
        self.delete_at(name, None, principal).await
    }

    /// The same, only if the secret is at this version when it is removed; otherwise [`Error::Stale`].
    pub async fn delete_at(
        &self,
        name: &SecretName,
        at: Option<u64>,
        principal: &str,
    ) -> Result<(), Error> {
        let (vault, name, principal) = (self.clone(), name.clone(), principal.to_owned());
        to_the_end(async move { vault.delete_now(&name, at, &principal).await })
            .await
            .map_err(Error::Write)?
    }

    async fn delete_now(
        &self,
        name: &SecretName,
        at: Option<u64>,
        principal: &str,
    ) -> Result<(), Error> {
        let mut changing = self.changing().await?;
        let old = self.bytes(name).await?;
        // A row that somebody changed can be deleted like any other.
        match self.intact(name, old.as_deref()) {
            Ok(Some(row)) if row.sealed.is_some() => {}
            Err(Error::Tampered { .. }) => {}
            Ok(_) => return Err(Error::NotFound(name.clone())),
            Err(error) => return Err(error),
        }
        self.expect_version(name, old.as_deref(), at)?;
        let row = Row {
            format: FORMAT,
            version: self.next_version(name),
            updated_ms: now_ms(),
            audience: Vec::new(),
            revealable: false,
            sealed: None,
        };
        let event = Event::new(EventKind::SecretDeleted).principal(principal);
        self.write(&mut changing, name, old, &row, event).await
    }

    /// Every secret, by name, without values.
    pub async fn list(&self) -> Result<Vec<SecretInfo>, Error> {
        let names: Vec<SecretName> = self.anchors().keys().cloned().collect();
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            match self.row(&name).await {
                Ok(Some(row)) if row.sealed.is_some() => all.push(info(name, row)),
                Ok(_) => {}
                Err(Error::Tampered { .. } | Error::TooNew { .. }) => all.push(SecretInfo {
                    version: self.anchors().get(&name).map_or(0, |anchor| anchor.version),
                    name,
                    audience: Vec::new(),
                    revealable: false,
                    updated_ms: 0,
                    damaged: true,
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// What may be told of one secret.
    pub async fn info(&self, name: &SecretName) -> Result<SecretInfo, Error> {
        match self.row(name).await? {
            Some(row) if row.sealed.is_some() => Ok(info(name.clone(), row)),
            _ => Err(Error::NotFound(name.clone())),
        }
    }

    /// Opens a secret for use.
    ///
    /// What is returned is what was last set: a row that was edited, exchanged or put back, whole or
    /// in part, before this host started or since, is [`Error::Tampered`].
    pub async fn open_secret(&self, name: &SecretName) -> Result<Secret, Error> {
        match self.opened(name).await {
            Err(Error::Tampered { .. }) => {
                let _changing = self.changing().await?;
                self.opened(name).await
            }
            opened => opened,
        }
    }

    async fn opened(&self, name: &SecretName) -> Result<Secret, Error> {
        let bytes = self.bytes(name).await?;
        let row = self.intact(name, bytes.as_deref())?;
        let Some((row, sealed)) = row
            .as_ref()
            .and_then(|row| Some((row, row.sealed.as_ref()?)))
        else {
            return Err(Error::NotFound(name.clone()));
        };
        let data_key = {
            let current = self.current();
            row::unwrap_data_key(&current.master.key, &self.0.id, name, row.version, sealed)?
        };
        let bindings = row::value_bindings(&self.0.id, name, row);
        let value = data_key
            .open(&row::parts(&bindings), &sealed.value.0)
            .map_err(|_| row::tampered(name))?;
        let value = std::str::from_utf8(&value).map_err(|_| row::tampered(name))?;
        Ok(Secret {
            name: name.clone(),
            version: row.version,
            audience: row.audience.clone(),
            revealable: row.revealable,
            value: SecretString::from(value),
        })
    }

    /// Seals other data at rest. `context` says what and whose it is; the bytes open under the
    /// same context only.
    pub fn seal(&self, context: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![FORMAT as u8];
        out.extend(self.0.sealing.seal(&self.seal_bindings(context), bytes)?);
        Ok(out)
    }

    /// Opens what [`seal`](Self::seal) made.
    pub fn unseal(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match sealed.split_first() {
            Some((&format, rest)) if u32::from(format) == FORMAT => {
                self.0.sealing.open(&self.seal_bindings(context), rest).ok()
            }
            _ => None,
        }
        .ok_or_else(|| Error::Tampered {
            what: context.to_owned(),
        })
    }

    /// The stored rows, deleted ones included. Rows that can't be read are `None`.
    pub(crate) async fn rows(
        store: &dyn Store,
    ) -> Result<Vec<(SecretName, Result<Row, Error>)>, Error> {
        let rows = store.scan(SECRETS, Scan::default()).await;
        let mut all = Vec::new();
        for (key, bytes) in rows.map_err(Error::Read)? {
            let name = std::str::from_utf8(&key).ok().and_then(|t| t.parse().ok());
            let Some(name) = name else {
                // Never looked up, so never used.
                tracing::warn!("the vault holds a row whose key is no secret's name");
                continue;
            };
            let row = parse_row(&name, &bytes);
            all.push((name, row));
        }
        Ok(all)
    }

    pub(crate) fn anchors(&self) -> MutexGuard<'_, Anchors> {
        self.0
            .anchors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> std::sync::RwLockReadGuard<'_, Current> {
        self.0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn bytes(&self, name: &SecretName) -> Result<Option<Vec<u8>>, Error> {
        self.0
            .store
            .get(SECRETS, name.as_str().as_bytes())
            .await
            .map_err(Error::Read)
    }

    /// The row as it was last recorded. One that differs may be on its way, or be a change whose outcome
    /// was not known: it is looked at again when nothing is.
    async fn row(&self, name: &SecretName) -> Result<Option<Row>, Error> {
        let bytes = self.bytes(name).await?;
        match self.intact(name, bytes.as_deref()) {
            Err(Error::Tampered { .. }) => {
                let _changing = self.changing().await?;
                let bytes = self.bytes(name).await?;
                self.intact(name, bytes.as_deref())
            }
            row => row,
        }
    }

    /// The row, if it is the one that was last recorded.
    fn intact(&self, name: &SecretName, bytes: Option<&[u8]>) -> Result<Option<Row>, Error> {
        let anchor = self.anchors().get(name).copied();
        match (anchor, bytes) {
            (None, None) => Ok(None),
            (Some(anchor), Some(bytes)) => {
                let row = parse_row(name, bytes)?;
                let found = Anchor {
                    version: row.version,
                    digest: Some(anchor::entry(name, &row)),
                };
                if found == anchor {
                    Ok(Some(row))
                } else {
                    Err(row::tampered(name))
                }
            }
            _ => Err(row::tampered(name)),
        }
    }

    fn expect_version(
        &self,
        name: &SecretName,
        old: Option<&[u8]>,
        at: Option<u64>,
    ) -> Result<(), Error> {
        let Some(at) = at else { return Ok(()) };
        // The row that is compared is the one that the commit expects to be there still.
        let alive = !matches!(self.intact(name, old), Ok(row) if row.as_ref().is_none_or(|row| row.sealed.is_none()));
        let version = self.anchors().get(name).map(|anchor| anchor.version);
        if alive && version == Some(at) {
            Ok(())
        } else {
            Err(Error::Stale(name.clone()))
        }
    }

    async fn write(
        &self,
        changing: &mut Changing<'_>,
        name: &SecretName,
        old: Option<Vec<u8>>,
        row: &Row,
        mut event: Event,
    ) -> Result<(), Error> {
        let mut commit = Commit::new();
        match old {
            Some(old) => commit.expect_value(SECRETS, name.as_str(), old),
            None => commit.expect_absent(SECRETS, name.as_str()),
        };
        let (own, bytes) = (self.current().bytes.clone(), encode(row));
        // What it is sealed under, and what the trail says with it, is what is there.
        commit.expect_value(META, META_KEY, own.clone());
        commit.put(SECRETS, name.as_str(), bytes.clone());
        let digest = anchor::entry(name, row);
        let mut anchors = self.anchors().clone();
        anchors.insert(
            name.clone(),
            Anchor {
                version: row.version,
                digest: Some(digest),
            },
        );
        if !event.detail.is_object() {
            event.detail = json!({});
        }
        event.detail["name"] = json!(name);
        event.detail["version"] = json!(row.version);
        event.detail["entry"] = json!(hex::encode(digest));
        let state = anchor::state(&own, &anchors);
        let Inner { store, audit, .. } = &*self.0;
        anchor::append(&mut commit, store.as_ref(), audit, event, &state).await?;
        let next = Change::Entry {
            name: name.clone(),
            row: bytes,
            anchors,
        };
        match changing.commit(commit, next).await {
            Err(CommitError::Conflict { table: SECRETS, .. }) => Err(Error::Stale(name.clone())),
            committed => committed.map_err(own_row),
        }
    }

    fn seal_value(
        &self,
        name: &SecretName,
        row: &Row,
        value: &SecretString,
    ) -> Result<Sealed, Error> {
        let data_key = Key::generate()?;
        let bindings = row::value_bindings(&self.0.id, name, row);
        let value = data_key.seal(&row::parts(&bindings), value.expose_secret().as_bytes())?;
        let current = self.current();
        let (master, id) = (&current.master.key, &current.meta.key_id);
        Ok(Sealed {
            key_id: id.clone(),
            data_key: row::wrap_data_key(master, &self.0.id, id, name, row.version, &data_key)?,
            value: Wrapped(value),
        })
    }

    /// One more than any version recorded of this name.
    fn next_version(&self, name: &SecretName) -> u64 {
        self.anchors().get(name).map_or(0, |anchor| anchor.version) + 1
    }

    fn seal_bindings<'a>(&'a self, context: &'a str) -> [&'a [u8]; 4] {
        [
            b"nexus-vault data at rest",
            &[FORMAT as u8],
            self.0.id.as_bytes(),
            context.as_bytes(),
        ]
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

fn info(name: SecretName, row: Row) -> SecretInfo {
    SecretInfo {
        name,
        audience: row.audience,
        revealable: row.revealable,
        version: row.version,
        updated_ms: row.updated_ms,
        damaged: false,
    }
}
