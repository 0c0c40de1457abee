//! The operator's own access to spaces: no permit, and an audit event in its place.

use std::collections::BTreeSet;

use bytes::Bytes;
use nexus_audit::Event;
use nexus_store::CommitError;

use super::call::{Key, Range, check_value};
use super::space::{Change, Entry, Memory, Page, Plan};
use crate::Error;

impl Memory {
    /// Reads one entry. The event is recorded before it is given out.
    pub async fn operator_get(&self, key: &Key, event: Event) -> Result<Option<Entry>, Error> {
        self.0
            .audit
            .note(event)
            .map_err(|error| unwritable(&error))?;
        self.entry(key).await
    }

    /// Reads a page of a range. The event is recorded before it is given out.
    pub async fn operator_scan(&self, range: &Range, event: Event) -> Result<Page, Error> {
        self.0
            .audit
            .note(event)
            .map_err(|error| unwritable(&error))?;
        self.page(range).await
    }

    /// Writes an entry and gives its revision. Entry and event are one commit.
    pub async fn operator_put(&self, key: &Key, value: Bytes, event: Event) -> Result<u64, Error> {
        let revision = self.change(key, Change::Put(&value), event).await?;
        revision
            .flatten()
            .ok_or_else(|| Error::Other("the write has no revision".to_owned()))
    }

    /// Writes an entry only if it is at `revision`, or absent if that is `None`. Gives the new
    /// revision, or `None` if nothing was written; then there is no event either.
    pub async fn operator_put_if(
        &self,
        key: &Key,
        value: Bytes,
        revision: Option<u64>,
        event: Event,
    ) -> Result<Option<u64>, Error> {
        let change = Change::PutIf(&value, revision);
        Ok(self.change(key, change, event).await?.flatten())
    }

    /// Removes an entry, if it is there. Removal and event are one commit.
    pub async fn operator_delete(&self, key: &Key, event: Event) -> Result<(), Error> {
        self.change(key, Change::Delete, event).await.map(drop)
    }

    /// Removes an entry only if it is at `revision`; says whether it was. If not, there is no event.
    pub async fn operator_delete_if(
        &self,
        key: &Key,
        revision: u64,
        event: Event,
    ) -> Result<bool, Error> {
        let deleted = self.change(key, Change::DeleteIf(revision), event).await?;
        Ok(deleted.is_some())
    }

    /// The new revision, if the change makes one; `None` if the entry was not as expected.
    async fn change(
        &self,
        key: &Key,
        change: Change<'_>,
        event: Event,
    ) -> Result<Option<Option<u64>>, Error> {
        if let Change::Put(value) | Change::PutIf(value, _) = &change {
            check_value(value)?;
        }
        let writers = self.writers(key.space());
        let _writing = writers.lock().await;
        loop {
            let plan = self.plan(key, &change, &BTreeSet::new()).await?;
            let Plan::Commit {
                mut commit,
                revision,
                ..
            } = plan
            else {
                return Ok(None);
            };
            self.0.audit.append(&mut commit, event.clone());
            match self.0.store.commit(commit).await {
                Ok(_) => return Ok(Some(revision)),
                // A write whose caller had left was still on its way: work it out anew.
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(unwritable(&error)),
            }
        }
    }
}

fn unwritable(error: &CommitError) -> Error {
    tracing::error!(%error, "the operator's access could not be recorded");
    if matches!(error, CommitError::Full) {
        return Error::DiskFull;
    }
    Error::Unavailable("the store can't be written".to_owned())
}
