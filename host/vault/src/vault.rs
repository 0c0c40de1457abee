//! The vault itself: rows in, secrets out.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use nexus_audit::{Audit, Event, EventKind};
use nexus_manifest::{Origin, SecretName};
use nexus_store::{Commit, Scan, Store};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cipher::Key;
use crate::error::Error;
use crate::master::{self, MasterKey};
use crate::row::{self, FORMAT, META, META_KEY, Meta, Row, SECRETS, Sealed, Wrapped};
use crate::secret::{Secret, SecretInfo};

/// The longest value, in bytes.
const MAX_VALUE: usize = 64 * 1024;

/// The vault. Clones share one state.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    audit: Audit,
    id: String,
    sealing: Key,
    master: RwLock<Master>,
    /// One change at a time: a version is read and then written.
    changing: tokio::sync::Mutex<()>,
    /// The versions this process has seen. An older row is one that somebody put back.
    seen: Mutex<HashMap<SecretName, u64>>,
}

struct Master {
    key: Key,
    id: String,
    path: Option<std::path::PathBuf>,
}

impl Vault {
    /// Opens the vault in `store`, or makes one sealed with `master`.
    ///
    /// Refuses any other key than the one the vault was sealed with, before anything is written.
    /// Finishes a rotation of the master key that was cut short.
    pub async fn open(
        store: Arc<dyn Store>,
        audit: Audit,
        master: MasterKey,
    ) -> Result<Self, Error> {
        let meta = match store.get(META, META_KEY).await.map_err(Error::Read)? {
            Some(bytes) => parse_meta(&bytes)?,
            None => create(store.as_ref(), &master.key).await?,
        };
        let master = settle(master, &meta)?;
        let sealing = row::unwrap_sealing(&master.key, &meta)?;
        Ok(Self(Arc::new(Inner {
            store,
            audit,
            id: meta.vault,
            sealing,
            master: RwLock::new(master),
            changing: tokio::sync::Mutex::new(()),
            seen: Mutex::default(),
        })))
    }

    /// Sets a secret's value and audience. The row and its audit event, which names `principal`
    /// and neither the value nor its length, are one commit.
    pub async fn set(
        &self,
        name: &SecretName,
        value: &SecretString,
        mut audience: Vec<Origin>,
        principal: &str,
    ) -> Result<SecretInfo, Error> {
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

        let _changing = self.0.changing.lock().await;
        let old = self.bytes(name).await?;
        let version = self.next_version(name, old.as_deref())?;
        let mut row = Row {
            format: FORMAT,
            version,
            updated_ms: now_ms(),
            audience,
            sealed: None,
        };
        row.sealed = Some(self.seal_value(name, &row, value)?);
        let event = Event::new(EventKind::SecretSet)
            .principal(principal)
            .detail(json!({
                "name": name, "version": version, "audience": row.audience,
            }));
        self.write(name, old, &row, event).await?;
        Ok(info(name.clone(), row))
    }

    /// Deletes a secret; the row keeps its last version and no value. The row and its audit event
    /// are one commit.
    pub async fn delete(&self, name: &SecretName, principal: &str) -> Result<(), Error> {
        let _changing = self.0.changing.lock().await;
        let old = self.bytes(name).await?;
        let previous = old
            .as_deref()
            .map(|bytes| parse_row(name, bytes))
            .transpose()?;
        if previous.is_none_or(|row| row.sealed.is_none()) {
            return Err(Error::NotFound(name.clone()));
        }
        let version = self.next_version(name, old.as_deref())?;
        let row = Row {
            format: FORMAT,
            version,
            updated_ms: now_ms(),
            audience: Vec::new(),
            sealed: None,
        };
        let event = Event::new(EventKind::SecretDeleted)
            .principal(principal)
            .detail(json!({ "name": name, "version": version }));
        self.write(name, old, &row, event).await
    }

    /// Every secret, by name, without values.
    pub async fn list(&self) -> Result<Vec<SecretInfo>, Error> {
        let rows = self.rows().await?;
        Ok(rows
            .into_iter()
            .filter(|(_, row)| row.sealed.is_some())
            .map(|(name, row)| info(name, row))
            .collect())
    }

    /// Opens a secret for use.
    pub async fn open_secret(&self, name: &SecretName) -> Result<Secret, Error> {
        let bytes = self
            .bytes(name)
            .await?
            .ok_or_else(|| Error::NotFound(name.clone()))?;
        let row = parse_row(name, &bytes)?;
        self.see(name, row.version)?;
        let Some(sealed) = &row.sealed else {
            return Err(Error::NotFound(name.clone()));
        };
        let data_key = {
            let master = self.0.master.read().unwrap_or_else(PoisonError::into_inner);
            row::unwrap_data_key(&master.key, &self.0.id, name, row.version, sealed)?
        };
        let bindings = row::value_bindings(&self.0.id, name, &row);
        let value = data_key
            .open(&row::parts(&bindings), &sealed.value.0)
            .map_err(|_| row::tampered(name))?;
        let value = std::str::from_utf8(&value).map_err(|_| row::tampered(name))?;
        Ok(Secret {
            name: name.clone(),
            version: row.version,
            audience: row.audience,
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

    /// Puts a new master key in the place of the old one and wraps every key with it, in one
    /// commit. Values are not sealed anew. Returns the new key's id.
    ///
    /// The key file is replaced after the commit; [`Vault::open`] makes up for a host that dies in
    /// between.
    pub async fn rotate_master_key(&self, principal: &str) -> Result<String, Error> {
        let _changing = self.0.changing.lock().await;
        let new = Key::generate()?;
        let new_id = master::id(&new);
        let (old, path) = {
            let master = self.0.master.read().unwrap_or_else(PoisonError::into_inner);
            (master.key.clone(), master.path.clone())
        };
        let Some(path) = path else {
            return Err(Error::NoKeyFile);
        };
        master::discard(&path)?;
        master::create(&master::next_path(&path), &new)?;

        let meta = Meta {
            format: FORMAT,
            vault: self.0.id.clone(),
            key_id: new_id.clone(),
            sealing: row::wrap_sealing(&new, &self.0.id, &new_id, &self.0.sealing)?,
        };
        let mut commit = Commit::new();
        commit.put(META, META_KEY, encode(&meta));
        for (name, mut row) in self.rows().await? {
            let version = row.version;
            if let Some(sealed) = &mut row.sealed {
                let data_key = row::unwrap_data_key(&old, &self.0.id, &name, version, sealed)?;
                sealed.data_key =
                    row::wrap_data_key(&new, &self.0.id, &new_id, &name, version, &data_key)?;
                sealed.key_id.clone_from(&new_id);
                commit.put(SECRETS, name.as_str(), encode(&row));
            }
        }
        let event = Event::new(EventKind::RequestReceived)
            .principal(principal)
            .outcome("rotated")
            .detail(json!({ "request": "rotate_master_key", "key": new_id }));
        self.0.audit.append(&mut commit, event);
        self.0.store.commit(commit).await.map_err(Error::Write)?;
        *self
            .0
            .master
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Master {
            key: new,
            id: new_id.clone(),
            path: Some(path.clone()),
        };
        master::promote(&path)?;
        Ok(new_id)
    }

    /// The stored rows, deleted ones included.
    pub(crate) async fn rows(&self) -> Result<Vec<(SecretName, Row)>, Error> {
        let rows = self
            .0
            .store
            .scan(SECRETS, Scan::default())
            .await
            .map_err(Error::Read)?;
        rows.into_iter()
            .map(|(key, bytes)| {
                let name: SecretName = std::str::from_utf8(&key)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| Error::Tampered {
                        what: "the name of a secret".to_owned(),
                    })?;
                let row = parse_row(&name, &bytes)?;
                Ok((name, row))
            })
            .collect()
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    async fn bytes(&self, name: &SecretName) -> Result<Option<Vec<u8>>, Error> {
        self.0
            .store
            .get(SECRETS, name.as_str().as_bytes())
            .await
            .map_err(Error::Read)
    }

    async fn write(
        &self,
        name: &SecretName,
        old: Option<Vec<u8>>,
        row: &Row,
        event: Event,
    ) -> Result<(), Error> {
        let mut commit = Commit::new();
        match old {
            Some(old) => commit.expect_value(SECRETS, name.as_str(), old),
            None => commit.expect_absent(SECRETS, name.as_str()),
        };
        commit.put(SECRETS, name.as_str(), encode(row));
        self.0.audit.append(&mut commit, event);
        self.0.store.commit(commit).await.map_err(Error::Write)?;
        self.see(name, row.version)
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
        let master = self.0.master.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Sealed {
            key_id: master.id.clone(),
            data_key: row::wrap_data_key(
                &master.key,
                &self.0.id,
                &master.id,
                name,
                row.version,
                &data_key,
            )?,
            value: Wrapped(value),
        })
    }

    /// One more than any version known of this name.
    fn next_version(&self, name: &SecretName, old: Option<&[u8]>) -> Result<u64, Error> {
        let stored = old
            .map(|bytes| parse_row(name, bytes))
            .transpose()?
            .map_or(0, |row| row.version);
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stored.max(seen.get(name).copied().unwrap_or(0)) + 1)
    }

    fn see(&self, name: &SecretName, version: u64) -> Result<(), Error> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = seen.entry(name.clone()).or_insert(version);
        if version < *newest {
            return Err(row::tampered(name));
        }
        *newest = version;
        Ok(())
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

/// Makes the vault's own row. Of two callers at once, both get the row that was written first.
async fn create(store: &dyn Store, master: &Key) -> Result<Meta, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::Random(e.to_string()))?;
    let vault = hex::encode(id);
    let key_id = master::id(master);
    let sealing = row::wrap_sealing(master, &vault, &key_id, &Key::generate()?)?;
    let meta = Meta {
        format: FORMAT,
        vault,
        key_id,
        sealing,
    };
    let mut commit = Commit::new();
    commit
        .expect_absent(META, META_KEY)
        .put(META, META_KEY, encode(&meta));
    match store.commit(commit).await {
        Ok(_) => Ok(meta),
        Err(error) => match store.get(META, META_KEY).await.map_err(Error::Read)? {
            Some(bytes) => parse_meta(&bytes),
            None => Err(Error::Write(error)),
        },
    }
}

/// Chooses the key that the vault is sealed with, and ends a rotation that was cut short.
fn settle(given: MasterKey, meta: &Meta) -> Result<Master, Error> {
    let MasterKey { key, next, path } = given;
    let found = master::id(&key);
    if found == meta.key_id {
        if let (Some(_), Some(path)) = (next, &path) {
            master::discard(path)?;
        }
        return Ok(Master {
            key,
            id: found,
            path,
        });
    }
    match (next, path) {
        (Some(next), Some(path)) if master::id(&next) == meta.key_id => {
            master::promote(&path)?;
            Ok(Master {
                key: next,
                id: meta.key_id.clone(),
                path: Some(path),
            })
        }
        _ => Err(Error::WrongMasterKey {
            expected: meta.key_id.clone(),
            found,
        }),
    }
}

fn info(name: SecretName, row: Row) -> SecretInfo {
    SecretInfo {
        name,
        audience: row.audience,
        version: row.version,
        updated_ms: row.updated_ms,
    }
}

fn parse_meta(bytes: &[u8]) -> Result<Meta, Error> {
    let what = || "the vault's own row".to_owned();
    let meta: Meta = serde_json::from_slice(bytes).map_err(|_| Error::Tampered { what: what() })?;
    check_format(meta.format, what)?;
    Ok(meta)
}

fn parse_row(name: &SecretName, bytes: &[u8]) -> Result<Row, Error> {
    let row: Row = serde_json::from_slice(bytes).map_err(|_| row::tampered(name))?;
    check_format(row.format, || format!("the secret `{name}`"))?;
    Ok(row)
}

fn check_format(found: u32, what: impl FnOnce() -> String) -> Result<(), Error> {
    match found.cmp(&FORMAT) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Error::TooNew {
            what: what(),
            found,
            known: FORMAT,
        }),
        // No version ever wrote a lower one.
        Ordering::Less => Err(Error::Tampered { what: what() }),
    }
}

fn encode(row: &impl serde::Serialize) -> Vec<u8> {
    // Strings, numbers and lists: nothing in these rows can fail to be written.
    serde_json::to_vec(row).unwrap_or_default()
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
