//! A trail without its beginning verifies if its host has signed that, and only then.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use nexus_audit::{
    Audit, AuditError, Checkpoint, Event, EventKind, Fault, LOG, Retain, SigningKey, verify,
    verify_store,
};
use nexus_store::{Commit, LogRecord, Options, RedbStore, Store, Table};
use tempfile::TempDir;

const EVENTS: u64 = 300;
const KEPT: Retain = Retain {
    records: Some(100),
    age: None,
};

struct House {
    _dir: TempDir,
    store: Arc<RedbStore>,
    key: SigningKey,
    audit: Audit,
    first: Checkpoint,
    last: Checkpoint,
}

/// Three hundred records, signed in the middle and at their end.
async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path(), Options::default()).unwrap();
    let key = SigningKey::generate().unwrap();
    let audit = Audit::open(store.clone(), key.clone()).await.unwrap();
    let mut signed = Vec::new();
    for number in 1..=EVENTS {
        let event = Event::new(EventKind::EffectFinished).sequence(number);
        audit.note(event).unwrap();
        if number % 150 == 0 {
            signed.push(audit.checkpoint().await.unwrap());
        }
    }
    let (first, last) = (signed[0].clone(), signed[1].clone());
    House {
        _dir: dir,
        store,
        key,
        audit,
        first,
        last,
    }
}

impl House {
    async fn records(&self) -> Vec<LogRecord> {
        self.store.read_log(LOG, 0, usize::MAX).await.unwrap()
    }

    fn faults(&self, records: Vec<LogRecord>, kept: &Checkpoint) -> Vec<Fault> {
        verify(records, &self.key.verifying_key(), Some(kept)).faults
    }
}

#[tokio::test]
async fn what_is_left_verifies_and_says_what_is_gone() {
    let house = house().await;
    let refused = house.audit.prune(&KEPT, ready(false)).await.unwrap();
    assert_eq!(refused, None);
    let word = house
        .audit
        .prune(&KEPT, ready(true))
        .await
        .unwrap()
        .unwrap();
    // Two records beside the events tell of the checkpoints.
    assert_eq!(word.sequence, EVENTS + 2 - 100);
    assert_eq!(
        house.audit.prune(&KEPT, ready(true)).await.unwrap(),
        None,
        "enough is gone"
    );
    let records = house.records().await;
    assert_eq!(records[0].sequence, word.sequence + 1);
    let key = house.key.verifying_key();
    let report = verify_store(&*house.store, &key, Some(&house.last))
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    assert_eq!(report.pruned, word.sequence);
    assert_eq!(report.records, 101, "and one that tells of it");
    // A checkpoint that is older than what is left can't be held against it.
    let older = Fault::Pruned {
        checkpoint: house.first.sequence,
        first: word.sequence + 1,
    };
    assert_eq!(house.faults(records, &house.first), [older]);
    // The host goes on, and starts again.
    house
        .audit
        .write(Event::new(EventKind::HostStopped))
        .await
        .unwrap();
    house.audit.checkpoint().await.unwrap();
    let again = Audit::open(house.store.clone(), house.key.clone())
        .await
        .unwrap();
    assert!(
        again.prune(&KEPT, ready(true)).await.unwrap().is_none(),
        "too little to be worth it"
    );
    for _ in 0..50 {
        again
            .write(Event::new(EventKind::HostStarted))
            .await
            .unwrap();
    }
    let latest = again.checkpoint().await.unwrap();
    let second = again.prune(&KEPT, ready(true)).await.unwrap().unwrap();
    assert!(second.sequence > word.sequence);
    let report = verify_store(&*house.store, &key, Some(&latest))
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    assert_eq!(report.pruned, second.sequence);
}

#[tokio::test]
async fn records_are_let_go_of_by_age_and_those_since_the_checkpoint_stay() {
    let house = house().await;
    let young = Retain {
        records: None,
        age: Some(Duration::from_secs(3600)),
    };
    assert_eq!(house.audit.prune(&young, ready(true)).await.unwrap(), None);
    assert_eq!(
        house
            .audit
            .prune(&Retain::default(), ready(true))
            .await
            .unwrap(),
        None
    );
    let none = Retain {
        records: None,
        age: Some(Duration::ZERO),
    };
    // Records of this very millisecond are not older than it.
    house
        .audit
        .write(Event::new(EventKind::HostStopped))
        .await
        .unwrap();
    let latest = house.audit.latest_checkpoint().unwrap();
    while let Some(word) = house.audit.prune(&none, ready(true)).await.unwrap() {
        assert!(word.sequence < latest.sequence);
    }
    let records = house.records().await;
    assert!(
        records
            .iter()
            .any(|record| record.sequence == latest.sequence)
    );
    assert!(house.faults(records, &latest).is_empty());
}

#[tokio::test]
async fn a_beginning_that_somebody_else_cut_off_is_found() {
    let house = house().await;
    let whole = house.records().await;
    for first in 2..=house.last.sequence {
        let cut: Vec<_> = whole
            .iter()
            .filter(|r| r.sequence >= first)
            .cloned()
            .collect();
        let found = house.faults(cut, &house.last);
        assert!(
            found.contains(&Fault::Beheaded { first }),
            "{first}: {found:?}"
        );
    }
    // Also where a signed checkpoint stands just there: it is no word on what was let go of.
    let at = usize::try_from(house.first.sequence).unwrap();
    let mut cut = whole[at..].to_vec();
    let mut pretended = house.records().await.pop().unwrap();
    let event = serde_json::json!({
        "time_ms": 1, "kind": "trail_pruned",
        "detail": { "first": 1, "pruned": house.first },
    });
    pretended.record = event.to_string().into_bytes();
    pretended.previous = pretended.hash;
    pretended.sequence += 1;
    pretended.hash = nexus_store::link(&pretended.previous, pretended.sequence, &pretended.record);
    cut.push(pretended);
    let found = house.faults(cut, &house.last);
    assert!(
        found.contains(&Fault::NotSigned {
            checkpoint: house.first.sequence
        }),
        "{found:?}"
    );

    // After a true pruning, more is cut off.
    let word = house
        .audit
        .prune(&KEPT, ready(true))
        .await
        .unwrap()
        .unwrap();
    let left = house.records().await;
    for more in 1..90 {
        let found = house.faults(left[more..].to_vec(), &house.last);
        let first = word.sequence + 1 + more as u64;
        assert!(
            found.contains(&Fault::Beheaded { first }),
            "{more}: {found:?}"
        );
    }
    // And its word for it is changed, or taken from another host.
    let at = left
        .iter()
        .rposition(|r| r.record.windows(12).any(|part| part == b"trail_pruned"));
    let at = at.unwrap();
    let mut changed = left.clone();
    let text = String::from_utf8(changed[at].record.clone()).unwrap();
    let key = house.key.verifying_key().id();
    changed[at].record = text.replace(&key, "0000000000000000").into_bytes();
    assert!(!house.faults(changed, &house.last).is_empty());
}

#[tokio::test]
async fn what_was_changed_is_not_signed_away() {
    let house = house().await;
    // Whoever writes to the disk has cut off the beginning and made the host's own notes fit.
    let mut commit = Commit::new();
    commit.trim(LOG, 20);
    house.store.commit(commit).await.unwrap();
    let error = house.audit.prune(&KEPT, ready(true)).await.unwrap_err();
    assert!(
        matches!(error, AuditError::Broken { sequence: 20 }),
        "{error}"
    );
    // A checkpoint in the place of the word on what was let go of.
    let mut commit = Commit::new();
    let word = serde_json::to_vec(&house.first).unwrap();
    commit.put(Table("audit-checkpoints"), "pruned", word);
    house.store.commit(commit).await.unwrap();
    let error = house.audit.prune(&KEPT, ready(true)).await.unwrap_err();
    assert!(matches!(error, AuditError::DamagedCheckpoint), "{error}");
}
