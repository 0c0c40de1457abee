//! Components that are kept though no generation needs them, because somebody may publish them later.

use std::collections::HashSet;

use nexus_manifest::Digest;
use nexus_store::{BlobId, Commit, ReadError, Scan, Store, Table};

use crate::prepare::{Prepared, blocking};
use crate::publish::PublishError;
use crate::runtime::Runtime;

/// By component and whoever keeps it.
const KEPT: Table = Table("kept_components");

impl Runtime {
    /// Keeps a component that is not published, until its `keeper` [lets it go](let_go). `beside` is
    /// written in the same commit.
    pub async fn keep(
        &self,
        prepared: &Prepared,
        keeper: &str,
        beside: Commit,
    ) -> Result<(), PublishError> {
        // Whoever removes an agent removes the components that nothing names.
        let _changing = self.0.registry.changing.lock().await;
        self.put_component(prepared).await?;
        let mut commit = beside;
        commit.put(KEPT, key(&prepared.digest, keeper), Vec::new());
        let store = &self.0.services.store;
        store
            .commit(commit)
            .await
            .map(drop)
            .map_err(PublishError::Commit)
    }

    /// Writes the component. The caller holds `changing`, so that nobody removes it before something
    /// durable names it.
    pub(crate) async fn put_component(&self, prepared: &Prepared) -> Result<(), PublishError> {
        let (runtime, component) = (self.clone(), prepared.component.clone());
        let id = BlobId::from(prepared.digest.as_bytes());
        blocking(move || runtime.0.services.blobs.put_as(id, &component))
            .await
            .map_err(PublishError::Blob)
    }
}

/// Adds to `commit` that `keeper` needs the component no longer.
pub fn let_go(commit: &mut Commit, component: &Digest, keeper: &str) {
    commit.delete(KEPT, key(component, keeper));
}

/// The components that somebody keeps.
pub(crate) async fn kept(store: &dyn Store) -> Result<HashSet<[u8; 32]>, ReadError> {
    let rows = store.scan(KEPT, Scan::default()).await?;
    let digests = rows
        .iter()
        .filter_map(|(key, _)| key.first_chunk::<32>().copied());
    Ok(digests.collect())
}

fn key(component: &Digest, keeper: &str) -> Vec<u8> {
    [component.as_bytes().as_slice(), keeper.as_bytes()].concat()
}
