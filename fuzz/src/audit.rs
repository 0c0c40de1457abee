//! The verifier of the audit trail: a trail that was changed before its checkpoint is never sound.

use std::sync::{Arc, OnceLock};

use nexus_audit::{Audit, Checkpoint, Event, EventKind, LOG, SigningKey, VerifyingKey, verify};
use nexus_store::{LogRecord, RedbStore, Store, link};

use crate::bytes::Bytes;

const KINDS: [EventKind; 4] = [
    EventKind::HostStarted,
    EventKind::RequestReceived,
    EventKind::EffectStarted,
    EventKind::EffectFinished,
];

struct Trail {
    records: Vec<LogRecord>,
    checkpoint: Checkpoint,
    key: VerifyingKey,
}

pub(crate) fn run(data: &[u8]) {
    let trail = trail();
    let mut bytes = Bytes(data);
    let mut records = trail.records.clone();
    while !bytes.is_empty() {
        edit(&mut records, &mut bytes);
    }
    let report = verify(records.clone(), &trail.key, Some(&trail.checkpoint));
    assert_eq!(report.records, records.len() as u64);
    let kept = usize::try_from(trail.checkpoint.sequence).unwrap();
    let same = |one: &LogRecord, other: &LogRecord| {
        (one.sequence, one.previous, one.hash, &one.record)
            == (other.sequence, other.previous, other.hash, &other.record)
    };
    let untouched = records.len() >= kept
        && records
            .iter()
            .zip(&trail.records)
            .take(kept)
            .all(|(one, other)| same(one, other));
    if report.is_sound() {
        assert!(untouched, "a changed trail passed: {records:?}");
        assert!(report.covered >= trail.checkpoint.sequence);
    }
    // Without a checkpoint of one's own it must not fail either.
    let _ = verify(records, &trail.key, None);
}

fn edit(records: &mut Vec<LogRecord>, bytes: &mut Bytes<'_>) {
    if records.is_empty() {
        bytes.0 = &[];
        return;
    }
    let at = bytes.below(records.len());
    match bytes.byte() % 9 {
        0 => drop(records.remove(at)),
        1 => {
            let other = bytes.below(records.len());
            records.swap(at, other);
        }
        2 => {
            let copy = records[at].clone();
            let to = bytes.below(records.len() + 1);
            records.insert(to, copy);
        }
        3 => records.truncate(at),
        4 => {
            let record = &mut records[at].record;
            if !record.is_empty() {
                let place = bytes.below(record.len());
                record[place] ^= bytes.byte();
            }
        }
        5 => records[at].record = bytes.some().to_vec(),
        6 => records[at].sequence = bytes.below(1 << 16) as u64,
        7 => records[at].hash[bytes.below(32)] ^= bytes.byte(),
        // Whoever has the disk can make all of it fit together again, signatures aside.
        _ => {
            let mut previous = if at == 0 {
                nexus_store::GENESIS
            } else {
                records[at - 1].hash
            };
            let mut sequence = if at == 0 { 0 } else { records[at - 1].sequence };
            for record in &mut records[at..] {
                sequence = sequence.wrapping_add(1);
                (record.sequence, record.previous) = (sequence, previous);
                record.hash = link(&previous, sequence, &record.record);
                previous = record.hash;
            }
        }
    }
}

fn trail() -> &'static Trail {
    static TRAIL: OnceLock<Trail> = OnceLock::new();
    TRAIL.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let store: Arc<dyn Store> =
                RedbStore::open(directory.path(), nexus_store::Options::default()).unwrap();
            let audit = Audit::open(Arc::clone(&store), SigningKey::generate().unwrap())
                .await
                .unwrap();
            for number in 0..12_u64 {
                let event = Event::new(KINDS[number as usize % KINDS.len()])
                    .principal("operator")
                    .sequence(number);
                audit.write(event).await.unwrap();
                if number == 5 {
                    audit.checkpoint().await.unwrap();
                }
            }
            let checkpoint = audit.checkpoint().await.unwrap();
            audit
                .write(Event::new(EventKind::HostStopped))
                .await
                .unwrap();
            let records = store.read_log(LOG, 0, 1_000).await.unwrap();
            let key = audit.verifying_key();
            Trail {
                records,
                checkpoint,
                key,
            }
        })
    })
}
