//! Writing, reading and signing the trail.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use nexus_audit::{Audit, AuditError, Event, EventKind, KeyError, LOG, SigningKey, verify_store};
use nexus_manifest::Digest;
use nexus_store::{
    Commit, CommitError, Committed, Log, LogRecord, Options, Position, ReadError, RedbStore, Scan,
    Store, Table,
};
use serde_json::json;
use tokio::sync::watch;

const TABLE: Table = Table("table");

fn store(dir: &Path) -> Arc<dyn Store> {
    RedbStore::open(dir, Options::default()).unwrap()
}

async fn open(dir: &Path) -> Audit {
    let key = SigningKey::load_or_create(dir.join("audit.key")).unwrap();
    Audit::open(store(dir), key).await.unwrap()
}

fn full_event() -> Event {
    Event::new(EventKind::ActionPermitted)
        .principal("operator")
        .agent("eth-tracker".parse().unwrap())
        .component(Digest::of(b"component"))
        .invocation("inv-1")
        .sequence(3)
        .action(Digest::of(b"action"))
        .approval("apr-1")
        .policies(["reads-are-free"])
        .outcome("permitted")
        .detail(json!({ "target": "https://rpc.example.com/v1" }))
}

#[tokio::test]
async fn events_come_back_as_they_were_written_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path()).await;
    let events: Vec<Event> = EventKind::ALL
        .iter()
        .filter(|kind| **kind != EventKind::Checkpoint)
        .map(|kind| Event {
            kind: *kind,
            ..full_event()
        })
        .collect();
    for (index, event) in events.iter().enumerate() {
        if index % 3 == 0 {
            let position = audit.write(event.clone()).await.unwrap();
            assert_eq!(position.sequence, index as u64 + 1);
        } else {
            audit.note(event.clone()).unwrap();
        }
    }
    // Notes are there without waiting for their time.
    let found = audit.events(1, 1000).await.unwrap();
    assert_eq!(found.len(), events.len());
    for (index, (record, event)) in found.iter().zip(&events).enumerate() {
        assert_eq!(record.sequence, index as u64 + 1);
        assert_eq!(record.event, *event);
    }
    assert_eq!(audit.events(5, 2).await.unwrap(), found[4..6]);
}

#[test]
fn each_kind_has_one_name() {
    for kind in EventKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    assert!("no_such_kind".parse::<EventKind>().is_err());
}

#[tokio::test]
async fn the_record_on_disk_is_plain_json_with_fields_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap())
        .await
        .unwrap();
    let mut event = full_event();
    event.time_ms = 7;
    audit.write(event).await.unwrap();
    let mut event = Event::new(EventKind::HostStarted);
    event.time_ms = 8;
    audit.write(event).await.unwrap();
    let records = store.read_log(LOG, 1, 2).await.unwrap();
    let expected = format!(
        concat!(
            r#"{{"time_ms":7,"kind":"action_permitted","principal":"operator","#,
            r#""agent":"eth-tracker","component":"{}","invocation":"inv-1","sequence":3,"#,
            r#""action":"{}","approval":"apr-1","policies":["reads-are-free"],"#,
            r#""outcome":"permitted","detail":{{"target":"https://rpc.example.com/v1"}}}}"#,
        ),
        Digest::of(b"component"),
        Digest::of(b"action"),
    );
    assert_eq!(
        String::from_utf8(records[0].record.clone()).unwrap(),
        expected
    );
    assert_eq!(records[1].record, br#"{"time_ms":8,"kind":"host_started"}"#);
}

#[tokio::test]
async fn an_event_shares_the_fate_of_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap())
        .await
        .unwrap();
    for _ in 0..2 {
        let mut commit = Commit::new();
        commit
            .expect_absent(TABLE, "once")
            .put(TABLE, "once", "done");
        audit.append(&mut commit, Event::new(EventKind::EffectStarted));
        let _ = store.commit(commit).await;
    }
    assert_eq!(audit.events(1, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_trail_can_be_followed() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path()).await;
    let mut heads = audit.subscribe();
    audit.note(full_event()).unwrap();
    heads.changed().await.unwrap();
    assert_eq!(*heads.borrow_and_update(), 1);
}

#[tokio::test]
async fn a_checkpoint_covers_all_before_it_and_is_made_only_for_news() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path()).await;
    assert_eq!(audit.latest_checkpoint(), None);
    for _ in 0..10 {
        audit.note(full_event()).unwrap();
    }
    let checkpoint = audit.checkpoint().await.unwrap();
    assert_eq!(checkpoint.sequence, 10);
    assert_eq!(checkpoint.hash, audit.events(10, 1).await.unwrap()[0].hash);
    assert!(checkpoint.is_signed_by(&audit.verifying_key()));
    assert!(!checkpoint.is_signed_by(&SigningKey::generate().unwrap().verifying_key()));
    assert_eq!(audit.latest_checkpoint(), Some(checkpoint.clone()));
    assert_eq!(*audit.checkpoints().borrow(), Some(checkpoint.clone()));
    // Its own record is no news.
    assert_eq!(audit.checkpoint().await.unwrap(), checkpoint);
    assert_eq!(audit.events(11, 10).await.unwrap().len(), 1);
    audit.write(full_event()).await.unwrap();
    assert_eq!(audit.checkpoint().await.unwrap().sequence, 12);
}

#[tokio::test]
async fn a_thousand_events_are_signed_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path()).await;
    let mut checkpoints = audit.checkpoints();
    for _ in 0..1000 {
        audit.note(full_event()).unwrap();
    }
    checkpoints.changed().await.unwrap();
    assert_eq!(audit.latest_checkpoint().unwrap().sequence, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_single_event_is_signed_within_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path()).await;
    let mut checkpoints = audit.checkpoints();
    audit.write(full_event()).await.unwrap();
    checkpoints.changed().await.unwrap();
    assert_eq!(audit.latest_checkpoint().unwrap().sequence, 1);
}

#[tokio::test]
async fn the_trail_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path()).await;
    audit.write(full_event()).await.unwrap();
    let before = audit.checkpoint().await.unwrap();
    drop(audit);
    // The background task holds no store: it can be opened again at once.
    let audit = open(dir.path()).await;
    assert_eq!(audit.latest_checkpoint(), Some(before.clone()));
    audit.write(full_event()).await.unwrap();
    let after = audit.checkpoint().await.unwrap();
    assert_eq!(after.sequence, 3);
    drop(audit);
    let store = store(dir.path());
    let key = SigningKey::load_or_create(dir.path().join("audit.key")).unwrap();
    for checkpoint in [&before, &after] {
        let report = verify_store(&*store, &key.verifying_key(), Some(checkpoint))
            .await
            .unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
        assert_eq!((report.records, report.covered), (4, 3));
    }
}

#[tokio::test]
async fn a_trail_that_lost_what_was_signed_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let store = store(dir.path());
    let audit = Audit::open(store.clone(), key.clone()).await.unwrap();
    audit.write(full_event()).await.unwrap();
    audit.checkpoint().await.unwrap();
    drop(audit);
    // As if the trail were from an older copy of the store.
    let checkpoints = Table("audit-checkpoints");
    let latest = store.get(checkpoints, b"latest").await.unwrap().unwrap();
    let changed = String::from_utf8(latest)
        .unwrap()
        .replace(r#""sequence":1"#, r#""sequence":9"#);
    let mut commit = Commit::new();
    commit.put(checkpoints, "latest", changed);
    store.commit(commit).await.unwrap();
    let refusal = Audit::open(store, key).await.unwrap_err();
    assert!(
        matches!(refusal, AuditError::Broken { sequence: 9 }),
        "{refusal}"
    );
}

/// A store whose disk is full.
struct FullStore;

#[async_trait]
impl Store for FullStore {
    async fn commit(&self, _: Commit) -> Result<Committed, CommitError> {
        Err(CommitError::Full)
    }

    fn commit_soon(&self, _: Commit) -> Result<(), CommitError> {
        Err(CommitError::Full)
    }

    async fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(None)
    }

    async fn scan(&self, _: Table, _: Scan) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ReadError> {
        Ok(Vec::new())
    }

    async fn read_log(&self, _: Log, _: u64, _: usize) -> Result<Vec<LogRecord>, ReadError> {
        Ok(Vec::new())
    }

    async fn head(&self, _: Log) -> Result<Position, ReadError> {
        Ok(Position::EMPTY)
    }

    fn watch(&self, _: Log) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_written_is_an_error() {
    let key = SigningKey::generate().unwrap();
    let audit = Audit::open(Arc::new(FullStore), key).await.unwrap();
    assert_eq!(audit.note(full_event()), Err(CommitError::Full));
    assert_eq!(audit.write(full_event()).await, Err(CommitError::Full));
    let refusal = audit.checkpoint().await.unwrap_err();
    assert!(
        matches!(refusal, AuditError::Write(CommitError::Full)),
        "{refusal}"
    );
    assert_eq!(audit.latest_checkpoint(), None);
    // What is there can still be read.
    assert!(audit.events(1, 10).await.unwrap().is_empty());
}

#[test]
fn a_key_is_made_once_and_only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.key");
    let made = SigningKey::load_or_create(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let loaded = SigningKey::load_or_create(&path).unwrap();
    assert_eq!(made.verifying_key(), loaded.verifying_key());
    let text = made.verifying_key().to_string();
    assert_eq!(
        text.parse::<nexus_audit::VerifyingKey>().unwrap(),
        made.verifying_key()
    );

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refusal = SigningKey::load_or_create(&path).unwrap_err();
    assert!(matches!(refusal, KeyError::Exposed { .. }), "{refusal}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "not a key").unwrap();
    let refusal = SigningKey::load_or_create(&path).unwrap_err();
    assert!(matches!(refusal, KeyError::Invalid(_)), "{refusal}");
    assert!(!format!("{made:?}").contains(fs::read_to_string(&path).unwrap().trim()));
}
