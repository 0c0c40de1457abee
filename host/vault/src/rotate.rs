//! Other keys for the same secrets: rotation, the recovery copy, and what it restores.

use std::sync::Arc;

use nexus_audit::{Audit, Event, EventKind};
use nexus_store::{Commit, Store, to_the_end};

use crate::anchor;
use crate::change::{Change, Changing, own_row};
use crate::cipher::Key;
use crate::error::Error;
use crate::kdf::Kdf;
use crate::master::{self, Keeper, MasterKey, Opened, Step};
use crate::open::find;
use crate::recovery::{Recovery, RecoveryCopy};
use crate::row::{self, META, META_KEY, Meta, SECRETS, encode};
use crate::vault::{Current, Vault};

impl Vault {
    /// Puts a new master key in the place of the old one and wraps every key with it, in one
    /// commit. Values are not sealed anew. Returns the new key's id.
    ///
    /// A key file is replaced after the commit; [`Vault::open`] makes up for a host that dies at any
    /// moment in between. A passphrase stays, and the key follows from it by a new salt. A key that
    /// comes from elsewhere has to be replaced there: [`Error::KeyElsewhere`]. Goes to its end though
    /// the caller leaves.
    pub async fn rotate_master_key(&self, principal: &str) -> Result<String, Error> {
        let (vault, principal) = (self.clone(), principal.to_owned());
        to_the_end(async move { vault.rotate(&principal, &|_| {}).await })
            .await
            .map_err(Error::Write)?
    }

    pub(crate) async fn rotate(&self, principal: &str, step: Step<'_>) -> Result<String, Error> {
        let mut changing = self.changing().await?;
        // A key that waits beside the file is the one in use or nobody's: only then may it be put in
        // the file's place, or go.
        changing.confirm().await?;
        step("begun");
        let event = Event::new(EventKind::MasterKeyRotated).principal(principal);
        let (old, keeper) = {
            let current = self.current();
            (current.master.key.clone(), current.master.keeper.clone())
        };
        match keeper {
            Keeper::Elsewhere => Err(Error::KeyElsewhere),
            Keeper::File(path) => {
                let key = Key::generate()?;
                master::make_room(&path, &old)?;
                step("room made");
                master::create(&master::next_path(&path), &key, step)?;
                step("next key in place");
                let opened = Opened {
                    key,
                    keeper: Keeper::File(path.clone()),
                };
                let id = self.rewrap(&mut changing, opened, None, event).await?;
                step("committed");
                master::promote(&path)?;
                step("promoted");
                Ok(id)
            }
            Keeper::Passphrase(passphrase) => {
                let fresh = MasterKey::from_passphrase(passphrase);
                // It takes a fraction of a second of a processor.
                let fresh = tokio::task::spawn_blocking(|| fresh.fresh()).await;
                let (opened, kdf) = fresh.map_err(|e| Error::Random(e.to_string()))??;
                step("next key in place");
                let id = self.rewrap(&mut changing, opened, kdf, event).await?;
                step("committed");
                Ok(id)
            }
        }
    }

    /// Wraps every key with another master key, in one commit. Entries that do not open stay as they
    /// are.
    pub(crate) async fn rewrap(
        &self,
        changing: &mut Changing<'_>,
        new: Opened,
        kdf: Option<Kdf>,
        mut event: Event,
    ) -> Result<String, Error> {
        let vault = &self.0.id;
        let id = master::id(&new.key);
        let (old, meta) = {
            let current = self.current();
            let copy = current.meta.recovery.copy(vault, &current.master.key)?;
            let told = current.meta.recovery.told;
            let meta = Meta {
                key_id: id.clone(),
                sealing: row::wrap_sealing(&new.key, vault, &id, &self.0.sealing)?,
                kdf,
                recovery: Recovery::wrap(vault, &new.key, &copy, told)?,
                ..current.meta.clone()
            };
            (current.master.key.clone(), meta)
        };
        let mut commit = Commit::new();
        for (name, row) in Self::rows(self.0.store.as_ref()).await? {
            let Ok(mut row) = row else { continue };
            let version = row.version;
            let Some(sealed) = &mut row.sealed else {
                continue;
            };
            let Ok(data_key) = row::unwrap_data_key(&old, vault, &name, version, sealed) else {
                tracing::warn!(secret = %name, "a secret does not open and stays under the old master key");
                continue;
            };
            sealed.data_key = row::wrap_data_key(&new.key, vault, &id, &name, version, &data_key)?;
            sealed.key_id.clone_from(&id);
            commit.put(SECRETS, name.as_str(), encode(&row));
        }
        event.detail = serde_json::json!({ "key": id });
        self.replace(changing, commit, new, meta, event).await?;
        Ok(id)
    }

    /// Tells the recovery copy, once. With `renew`, makes a new one, which makes the one before it
    /// worthless. The audit names `principal`. Goes to its end though the caller leaves.
    pub async fn recovery_copy(&self, renew: bool, principal: &str) -> Result<RecoveryCopy, Error> {
        let (vault, principal) = (self.clone(), principal.to_owned());
        to_the_end(async move { vault.tell_recovery(renew, &principal).await })
            .await
            .map_err(Error::Write)?
    }

    async fn tell_recovery(&self, renew: bool, principal: &str) -> Result<RecoveryCopy, Error> {
        let mut changing = self.changing().await?;
        let vault = &self.0.id;
        let (copy, meta, opened) = {
            let current = self.current();
            let recovery = &current.meta.recovery;
            if recovery.told && !renew {
                return Err(Error::RecoveryTold);
            }
            let copy = match renew {
                true => Key::generate()?,
                false => recovery.copy(vault, &current.master.key)?,
            };
            let meta = Meta {
                recovery: Recovery::wrap(vault, &current.master.key, &copy, true)?,
                ..current.meta.clone()
            };
            let opened = Opened {
                key: current.master.key.clone(),
                keeper: current.master.keeper.clone(),
            };
            (copy, meta, opened)
        };
        let mut event = Event::new(EventKind::RecoveryCopied).principal(principal);
        if renew {
            event = event.outcome("renewed");
        }
        self.replace(&mut changing, Commit::new(), opened, meta, event)
            .await?;
        Ok(RecoveryCopy(copy))
    }

    /// Whether somebody has the recovery copy.
    pub fn recovery_told(&self) -> bool {
        self.current().meta.recovery.told
    }

    /// Opens a vault whose master key is lost with its recovery copy, and seals it with `master` from
    /// then on, in one commit. The recovery copy stays good.
    pub async fn restore(
        store: Arc<dyn Store>,
        audit: Audit,
        copy: &RecoveryCopy,
        master: MasterKey,
        principal: &str,
    ) -> Result<Self, Error> {
        let found = find(store.as_ref(), &audit).await?.ok_or(Error::NoVault)?;
        let key = found.meta.recovery.master(&found.meta.vault, &copy.0)?;
        let opened = Opened {
            key,
            keeper: Keeper::Elsewhere,
        };
        let vault = found.assemble(store, audit, opened)?;
        let (opened, kdf) = master.fresh()?;
        let event = Event::new(EventKind::MasterKeyRotated)
            .principal(principal)
            .outcome("restored");
        let mut changing = vault.changing().await?;
        vault.rewrap(&mut changing, opened, kdf, event).await?;
        drop(changing);
        Ok(vault)
    }

    /// Commits another row of the vault's own, with its anchor, and goes on with it.
    async fn replace(
        &self,
        changing: &mut Changing<'_>,
        mut commit: Commit,
        master: Opened,
        meta: Meta,
        event: Event,
    ) -> Result<(), Error> {
        let (bytes, before) = (encode(&meta), self.current().bytes.clone());
        commit
            .expect_value(META, META_KEY, before)
            .put(META, META_KEY, bytes.clone());
        let state = anchor::state(&bytes, &self.anchors());
        let (store, audit): (&dyn Store, _) = (self.0.store.as_ref(), &self.0.audit);
        anchor::append(&mut commit, store, audit, event, &state).await?;
        let next = Change::Own(Box::new(Current::new(master, meta, bytes)));
        changing.commit(commit, next).await.map_err(own_row)
    }
}
