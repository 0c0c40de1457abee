//! What the tests of this crate stand on that watch how something is kept.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::Arc;

use nexus_audit::{Audit, SigningKey};
use nexus_store::{Options, RedbStore};
use tempfile::TempDir;

use crate::faulty::Faulty;

/// A store that fails on request and the trail in it, and the directory that goes with them.
pub(crate) async fn audited() -> (TempDir, Arc<Faulty>, Audit) {
    let dir = tempfile::tempdir().unwrap();
    let store = Faulty::over(RedbStore::open(dir.path(), Options::default()).unwrap());
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap());
    let audit = audit.await.unwrap();
    (dir, store, audit)
}
