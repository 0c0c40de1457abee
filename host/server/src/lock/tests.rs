//! The lock on a host whose disk takes nothing.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::Path;
use std::sync::Arc;

use nexus_audit::{Audit, SigningKey};
use nexus_store::{Options, RedbStore};

use super::EmergencyLock;
use crate::faulty::Faulty;

const ROWS: &str = "emergency-lock";

async fn open(dir: &Path, store: &Arc<Faulty>, audit: &Audit) -> EmergencyLock {
    let opened = EmergencyLock::open(dir, store.clone(), audit.clone());
    opened.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_written_down_as_soon_as_the_disk_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Faulty::over(RedbStore::open(dir.path(), Options::default()).unwrap());
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap());
    let audit = audit.await.unwrap();
    // No file can be made there.
    let nowhere = dir.path().join("missing");
    let lock = open(&nowhere, &store, &audit).await;
    store.lose(ROWS);
    let mut hold = store.hold_answer(ROWS);
    let standing = lock.engage("a leak", "op").await;
    assert!(standing.engaged.is_some() && !standing.durable);
    hold.reached().await;
    drop(hold);
    // The next start finds it.
    let engaged = open(&nowhere, &store, &audit).await.standing().engaged;
    assert_eq!(engaged.unwrap().reason, "a leak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_engage_it_again_writes_the_file_that_could_not_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Faulty::over(RedbStore::open(dir.path(), Options::default()).unwrap());
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap());
    let audit = audit.await.unwrap();
    let data = dir.path().join("data");
    let lock = open(&data, &store, &audit).await;
    // The store takes nothing for as long as this takes.
    for _ in 0..100 {
        store.lose(ROWS);
    }
    assert!(!lock.engage("a leak", "op").await.durable);
    std::fs::create_dir(&data).unwrap();
    assert!(lock.engage("a leak", "op").await.durable);
    assert!(
        open(&data, &store, &audit)
            .await
            .standing()
            .engaged
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_landed_and_failed_leaves_it_engaged_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Faulty::over(RedbStore::open(dir.path(), Options::default()).unwrap());
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap());
    let audit = audit.await.unwrap();
    let nowhere = dir.path().join("missing");
    let lock = open(&nowhere, &store, &audit).await;
    assert!(lock.engage("a leak", "op").await.durable);
    store.land(ROWS);
    let mut hold = store.hold_answer(ROWS);
    assert!(lock.release("op").await.is_err());
    assert!(lock.standing().engaged.is_some());
    // Its row is written again.
    hold.reached().await;
    drop(hold);
    let again = open(&nowhere, &store, &audit).await;
    assert!(again.standing().engaged.is_some());
}
