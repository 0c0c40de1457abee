//! Every way to change a trail is found, at every record.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use nexus_audit::{
    Audit, Checkpoint, Event, EventKind, Fault, LOG, SigningKey, Verifier, VerifyingKey, verify,
    verify_store,
};
use nexus_store::{GENESIS, LogRecord, Options, RedbStore, Store, link};

const EVENTS: u64 = 1_000;
const EVERY: u64 = 50;
const CHECKPOINTS: u64 = EVENTS / EVERY;

struct Trail {
    records: Vec<LogRecord>,
    key: VerifyingKey,
    /// Covers all records but the last, which tells of it.
    checkpoint: Checkpoint,
}

/// A thousand records with twenty checkpoints among them.
async fn trail() -> Trail {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path(), Options::default()).unwrap();
    let key = SigningKey::generate().unwrap();
    let audit = Audit::open(store.clone(), key.clone()).await.unwrap();
    let mut checkpoint = None;
    for number in 1..=EVENTS {
        audit
            .note(
                Event::new(EventKind::EffectFinished)
                    .principal("operator")
                    .sequence(number)
                    .outcome("done"),
            )
            .unwrap();
        if number % EVERY == 0 {
            checkpoint = Some(audit.checkpoint().await.unwrap());
        }
    }
    let report = verify_store(&*store, &key.verifying_key(), checkpoint.as_ref())
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    assert_eq!(report.records, EVENTS + CHECKPOINTS);
    assert_eq!(report.covered, EVENTS + CHECKPOINTS - 1);
    Trail {
        records: store.read_log(LOG, 1, usize::MAX).await.unwrap(),
        key: key.verifying_key(),
        checkpoint: checkpoint.unwrap(),
    }
}

impl Trail {
    fn faults(&self, records: Vec<LogRecord>) -> Vec<Fault> {
        verify(records, &self.key, Some(&self.checkpoint)).faults
    }

    fn covered(&self) -> usize {
        usize::try_from(self.checkpoint.sequence).unwrap()
    }

    /// Changes a copy at each record before the checkpoint; each change has to be found.
    fn each(&self, change: impl Fn(&mut Vec<LogRecord>, usize)) {
        self.each_up_to(Some(&self.checkpoint), change);
    }

    fn each_up_to(&self, kept: Option<&Checkpoint>, change: impl Fn(&mut Vec<LogRecord>, usize)) {
        // What stands before a change is read once, not once for each of the thousand.
        let mut before = vec![Verifier::new(&self.key)];
        for record in &self.records {
            let mut verifier = before[before.len() - 1].clone();
            verifier.record(record);
            before.push(verifier);
        }
        for index in 0..self.covered() {
            let mut records = self.records.clone();
            change(&mut records, index);
            let pairs = records.iter().zip(&self.records);
            let same = pairs.take_while(|(now, then)| now == then).count();
            let mut verifier = before[same].clone();
            for record in &records[same..] {
                verifier.record(record);
                if !verifier.faults().is_empty() {
                    break;
                }
            }
            let found = verifier.finish(kept).faults;
            assert!(
                !found.is_empty(),
                "the change at record {} was not found",
                index + 1
            );
        }
    }
}

/// What an attacker without the key does after a change: makes the chain fit again from there on.
fn relink(records: &mut [LogRecord], from: usize) {
    let mut previous = match from.checked_sub(1) {
        Some(last) => records[last].hash,
        None => GENESIS,
    };
    for (index, record) in records.iter_mut().enumerate().skip(from) {
        record.sequence = index as u64 + 1;
        record.previous = previous;
        record.hash = link(&previous, record.sequence, &record.record);
        previous = record.hash;
    }
}

fn edit(record: &mut LogRecord) {
    let at = record.record.len() / 2;
    record.record[at] ^= 1;
}

fn restamp(record: &mut LogRecord) {
    let mut event: serde_json::Value = serde_json::from_slice(&record.record).unwrap();
    event["time_ms"] = (event["time_ms"].as_u64().unwrap() - 1).into();
    record.record = event.to_string().into_bytes();
}

#[tokio::test]
async fn t36_every_change_to_every_record_is_found() {
    let trail = trail().await;
    trail.each(|records, at| edit(&mut records[at]));
    trail.each(|records, at| restamp(&mut records[at]));
    trail.each(|records, at| records[at].record.truncate(5));
    trail.each(|records, at| records[at].sequence += 1);
    trail.each(|records, at| records[at].previous[0] ^= 1);
    trail.each(|records, at| records[at].hash[31] ^= 0x80);
    trail.each(|records, at| drop(records.remove(at)));
    trail.each(|records, at| records.swap(at, at + 1));
    trail.each(|records, at| {
        let record = records[at].clone();
        records.insert(at, record);
    });
    // Cut to any length.
    trail.each(|records, at| records.truncate(at));
    // The end kept, the middle gone.
    trail.each(|records, at| drop(records.drain(at / 2..=at)));
}

#[tokio::test]
async fn t36_every_change_is_found_when_the_chain_was_made_to_fit_again() {
    let trail = trail().await;
    trail.each(|records, at| {
        restamp(&mut records[at]);
        relink(records, at);
    });
    trail.each(|records, at| {
        records.remove(at);
        relink(records, at);
    });
    trail.each(|records, at| {
        records.swap(at, at + 1);
        relink(records, at);
    });
    trail.each(|records, at| {
        let record = records[0].clone();
        records.insert(at, record);
        relink(records, at);
    });
    // Records after the change dropped, and others put in their place.
    trail.each(|records, at| {
        let filler = records[0].clone();
        let length = records.len();
        records.truncate(at);
        records.resize(length, filler);
        relink(records, at);
    });
}

#[tokio::test]
async fn t36_a_rewritten_trail_is_found_by_its_own_checkpoints() {
    let trail = trail().await;
    trail.each_up_to(None, |records, at| {
        restamp(&mut records[at]);
        relink(records, at);
    });
}

#[tokio::test]
async fn a_fault_is_reported_where_it_is() {
    let trail = trail().await;
    let at = |change: &dyn Fn(&mut Vec<LogRecord>)| {
        let mut records = trail.records.clone();
        change(&mut records);
        trail.faults(records)
    };
    assert_eq!(
        at(&|records| edit(&mut records[9]))[0],
        Fault::Edited { sequence: 10 }
    );
    assert_eq!(
        at(&|records| drop(records.remove(9)))[0],
        Fault::OutOfOrder {
            expected: 10,
            found: 11
        }
    );
    assert_eq!(
        at(&|records| records[9].previous = [0; 32])[0],
        Fault::NotLinked { sequence: 10 }
    );
    assert_eq!(
        at(&|records| records.truncate(60)),
        [Fault::Cut {
            head: 60,
            checkpoint: EVENTS + CHECKPOINTS - 1
        }]
    );
    assert_eq!(
        at(&|records| records.clear()),
        [Fault::Cut {
            head: 0,
            checkpoint: EVENTS + CHECKPOINTS - 1
        }]
    );
    let mut rewritten = trail.records.clone();
    // Without its own checkpoints the rewritten trail looks well, but not to who kept one.
    rewritten.retain(|record| {
        !record
            .record
            .windows(12)
            .any(|part| part == b"\"checkpoint\"")
    });
    rewritten.resize(trail.records.len(), trail.records[0].clone());
    relink(&mut rewritten, 0);
    assert!(verify(rewritten.clone(), &trail.key, None).is_sound());
    assert_eq!(
        trail.faults(rewritten),
        [Fault::Rewritten {
            checkpoint: EVENTS + CHECKPOINTS - 1
        }]
    );
}

#[tokio::test]
async fn a_checkpoint_of_another_key_or_with_another_content_proves_nothing() {
    let trail = trail().await;
    let stranger = SigningKey::generate().unwrap().verifying_key();
    let report = verify(trail.records.clone(), &stranger, Some(&trail.checkpoint));
    assert_eq!(report.checkpoints, 0);
    assert_eq!(report.covered, 0);
    assert_eq!(report.faults.len() as u64, CHECKPOINTS + 1);

    let good = &trail.checkpoint;
    let mut forged = vec![good.clone(); 4];
    forged[0].time_ms += 1;
    forged[1].sequence -= 1;
    forged[2].hash[0] ^= 1;
    forged[3].signature[10] ^= 1;
    for checkpoint in forged {
        let report = verify(trail.records.clone(), &trail.key, Some(&checkpoint));
        let fault = Fault::NotSigned {
            checkpoint: checkpoint.sequence,
        };
        assert_eq!(report.faults, [fault]);
    }
}
