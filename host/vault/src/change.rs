//! One change at a time, in the store first and then in memory.
//!
//! A commit that is answered with an error may have landed. So what a change leads to is kept until it
//! is known: whoever changes or misses something next reads first what became of the last.

use std::sync::PoisonError;

use nexus_store::{Commit, CommitError};
use tokio::sync::MutexGuard;

use crate::anchor::Anchors;
use crate::error::Error;
use crate::row::{META, META_KEY, SECRETS};
use crate::vault::{Current, Vault};

/// What memory holds once a commit is in the store.
pub(crate) enum Change {
    /// Another row of a secret.
    Entry {
        name: nexus_manifest::SecretName,
        row: Vec<u8>,
        anchors: Anchors,
    },
    /// Another row of the vault's own.
    Own(Box<Current>),
}

/// The right to change the vault.
pub(crate) struct Changing<'a> {
    vault: &'a Vault,
    /// The change whose outcome is not known.
    left: MutexGuard<'a, Option<Change>>,
}

impl Vault {
    /// Waits until nobody else changes the vault, and until memory and store agree.
    pub(crate) async fn changing(&self) -> Result<Changing<'_>, Error> {
        let mut changing = Changing {
            vault: self,
            left: self.0.changing.lock().await,
        };
        changing.settle().await?;
        Ok(changing)
    }

    fn enter(&self, change: Change) {
        match change {
            Change::Entry { anchors, .. } => *self.anchors() = anchors,
            Change::Own(current) => {
                let place = self.0.current.write();
                *place.unwrap_or_else(PoisonError::into_inner) = *current;
            }
        }
    }
}

impl Changing<'_> {
    /// Makes a change. After an error memory has what the store has.
    pub(crate) async fn commit(
        &mut self,
        commit: Commit,
        change: Change,
    ) -> Result<(), CommitError> {
        *self.left = Some(change);
        let committed = self.vault.0.store.commit(commit).await;
        match committed {
            Ok(_) => {
                if let Some(change) = self.left.take() {
                    self.vault.enter(change);
                }
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.settle().await {
                    tracing::warn!(%error, "what became of a change of the vault shows when it is next used");
                }
                Err(error)
            }
        }
    }

    /// Makes sure that the store holds the vault's own row that memory has, durably: nobody else has
    /// changed it, and what was decided by it stays.
    pub(crate) async fn confirm(&mut self) -> Result<(), Error> {
        let mut commit = Commit::new();
        commit.expect_value(META, META_KEY, self.vault.current().bytes.clone());
        let confirmed = self.vault.0.store.commit(commit).await;
        confirmed.map(drop).map_err(own_row)
    }

    /// Reads what became of a change that was answered with an error.
    async fn settle(&mut self) -> Result<(), Error> {
        let (table, key, expected) = match &*self.left {
            None => return Ok(()),
            Some(Change::Entry { name, row, .. }) => (SECRETS, name.as_str().as_bytes(), row),
            Some(Change::Own(current)) => (META, META_KEY, &current.bytes),
        };
        let found = self.vault.0.store.get(table, key).await;
        let landed = found.map_err(Error::Read)?.as_ref() == Some(expected);
        if let Some(change) = self.left.take_if(|_| landed) {
            self.vault.enter(change);
        }
        *self.left = None;
        Ok(())
    }
}

/// What a commit says that expected the vault's own row.
pub(crate) fn own_row(error: CommitError) -> Error {
    match error {
        CommitError::Conflict { table: META, .. } => gone(),
        error => Error::Write(error),
    }
}

pub(crate) fn gone() -> Error {
    Error::Tampered {
        what: "the vault's own row".to_owned(),
    }
}
