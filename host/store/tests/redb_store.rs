//! The store in one file: the common promises, and those about the file.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod conformance;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use conformance::conformance;
use nexus_store::{Commit, Log, OpenError, Options, RedbStore, Store, Table};

const TABLE: Table = Table("table");
const LOG: Log = Log("log");

conformance!(empty);

fn empty() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    (store, dir)
}

fn open(dir: &Path) -> Result<Arc<RedbStore>, OpenError> {
    RedbStore::open(dir, Options::default())
}

/// A closed store with a hundred entries and as many records.
async fn written(dir: &Path) {
    let store = open(dir).unwrap();
    let mut commit = Commit::new();
    for number in 0..100 {
        commit.put(TABLE, key(number), value(number));
        commit.append(LOG, value(number));
    }
    store.commit(commit).await.unwrap();
}

fn key(number: usize) -> String {
    format!("key {number:03}")
}

fn value(number: usize) -> Vec<u8> {
    vec![number as u8; 100 + number]
}

#[tokio::test]
async fn what_was_taken_over_is_there_after_closing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..10 {
        let mut commit = Commit::new();
        commit.append(LOG, format!("{number}"));
        store.commit_soon(commit).unwrap();
    }
    drop(store);
    let store = open(dir.path()).unwrap();
    let mut commit = Commit::new();
    commit.append(LOG, "10");
    let committed = store.commit(commit).await.unwrap();
    assert_eq!(committed.positions[0].sequence, 11);
    let records = store.read_log(LOG, 1, 100).await.unwrap();
    assert_eq!(records.len(), 11);
    assert_eq!(records[10].previous, records[9].hash);
    // The second opening is another owner.
    assert_eq!((records[9].epoch, records[10].epoch), (1, 2));
}

#[tokio::test]
async fn a_data_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let second = open(dir.path()).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    drop(first);
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _store = open(&data).unwrap();
    for file in fs::read_dir(&data).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", file.file_name());
    }
    let mode = fs::metadata(&data).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

#[tokio::test]
async fn a_creation_that_was_cut_off_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.redb.new"), b"half a sto").unwrap();
    written(dir.path()).await;
    let store = open(dir.path()).unwrap();
    assert_eq!(
        store.get(TABLE, key(7).as_bytes()).await.unwrap(),
        Some(value(7))
    );
}

#[tokio::test]
async fn a_newer_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let path = dir.path().join("store.redb");
    let meta = redb::TableDefinition::<&str, u64>::new("nexus");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(meta)
        .unwrap()
        .insert("schema", 99)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refusal = open(dir.path()).unwrap_err();
    assert!(
        matches!(refusal, OpenError::TooNew { found: 99, .. }),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_store_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let path = dir.path().join("store.redb");
    let good = fs::read(&path).unwrap();
    let wrong: [Vec<u8>; 5] = [
        Vec::new(),
        b"not a database".to_vec(),
        vec![0; good.len()],
        good[..good.len() / 2].to_vec(),
        good[..100].to_vec(),
    ];
    for content in wrong {
        fs::write(&path, &content).unwrap();
        let refusal = open(dir.path()).unwrap_err();
        assert!(matches!(refusal, OpenError::Corrupt { .. }), "{refusal}");
        assert!(refusal.to_string().contains("backup"), "{refusal}");
        assert!(fs::read(&path).unwrap() == content);
    }
    fs::write(&path, &good).unwrap();
    open(dir.path()).unwrap();
}
