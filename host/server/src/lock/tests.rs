//! The lock on a host whose disk takes nothing.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nexus_audit::Audit;
use tempfile::TempDir;

use super::EmergencyLock;
use crate::audited::audited;
use crate::faulty::Faulty;

const ROWS: &str = "emergency-lock";

/// A store and its audit, in a directory that goes with it.
struct Stage {
    dir: TempDir,
    store: Arc<Faulty>,
    audit: Audit,
}

impl Stage {
    async fn new() -> Self {
        let (dir, store, audit) = audited().await;
        Self { dir, store, audit }
    }

    /// A directory in which no file can be made.
    fn nowhere(&self) -> PathBuf {
        self.dir.path().join("missing")
    }

    /// The lock as a start of the host finds it.
    async fn lock(&self, dir: &Path) -> EmergencyLock {
        let opened = EmergencyLock::open(dir, self.store.clone(), self.audit.clone());
        opened.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_written_down_as_soon_as_the_disk_takes_it() {
    let stage = Stage::new().await;
    let lock = stage.lock(&stage.nowhere()).await;
    stage.store.lose(ROWS);
    let mut hold = stage.store.hold_answer(ROWS);
    let standing = lock.engage("a leak", "op").await;
    assert!(standing.engaged.is_some() && !standing.durable);
    hold.reached().await;
    drop(hold);
    // The next start finds it.
    let engaged = stage.lock(&stage.nowhere()).await.standing().engaged;
    assert_eq!(engaged.unwrap().reason, "a leak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_engage_it_again_writes_the_file_that_could_not_be_written() {
    let stage = Stage::new().await;
    let data = stage.dir.path().join("data");
    let lock = stage.lock(&data).await;
    // The store takes nothing for as long as this takes.
    for _ in 0..100 {
        stage.store.lose(ROWS);
    }
    assert!(!lock.engage("a leak", "op").await.durable);
    std::fs::create_dir(&data).unwrap();
    assert!(lock.engage("a leak", "op").await.durable);
    let again = stage.lock(&data).await;
    assert!(again.standing().engaged.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_landed_and_failed_leaves_it_engaged_after_a_restart() {
    let stage = Stage::new().await;
    let lock = stage.lock(&stage.nowhere()).await;
    assert!(lock.engage("a leak", "op").await.durable);
    stage.store.land(ROWS);
    let mut hold = stage.store.hold_answer(ROWS);
    assert!(lock.release("op").await.is_err());
    assert!(lock.standing().engaged.is_some());
    // Its row is written again.
    hold.reached().await;
    drop(hold);
    let again = stage.lock(&stage.nowhere()).await;
    assert!(again.standing().engaged.is_some());
}
