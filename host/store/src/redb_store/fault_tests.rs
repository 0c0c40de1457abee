//! What the store promises when the disk does not keep its own promises.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::Arc;

use super::disk::{Disk, RESERVE};
use super::fault_disk::{Dice, FaultDisk};
use super::{Options, RedbStore};
use crate::{Commit, CommitError, Log, LogRecord, OpenError, ReadError, Scan, Store, Table, link};

const TABLE: Table = Table("entries");
const LOG: Log = Log("events");
const MEBIBYTE: u64 = 1024 * 1024;

fn open(disk: &FaultDisk) -> RedbStore {
    RedbStore::start(Arc::new(disk.clone()), Options::default()).unwrap()
}

fn put(key: &str, value: impl Into<Vec<u8>>) -> Commit {
    let mut commit = Commit::new();
    commit.put(TABLE, key, value);
    commit
}

fn event(record: &str) -> Commit {
    let mut commit = Commit::new();
    commit.append(LOG, record);
    commit
}

async fn records(store: &RedbStore) -> Vec<String> {
    let records: Vec<LogRecord> = store.read_log(LOG, 1, usize::MAX).await.unwrap();
    let mut previous = crate::GENESIS;
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.sequence, index as u64 + 1);
        assert_eq!(record.previous, previous);
        assert_eq!(
            record.hash,
            link(&previous, record.sequence, &record.record)
        );
        previous = record.hash;
    }
    records
        .into_iter()
        .map(|record| String::from_utf8(record.record).unwrap())
        .collect()
}

/// Writes until nothing more goes in, however small.
async fn fill(store: &RedbStore) -> Vec<String> {
    let mut written = Vec::new();
    for size in [64 * 1024, 16 * 1024, 4 * 1024] {
        loop {
            let key = format!("filler {}", written.len());
            match store.commit(put(&key, vec![7; size])).await {
                Ok(_) => written.push(key),
                Err(CommitError::Full) => break,
                Err(error) => panic!("not told that the disk is full: {error}"),
            }
        }
    }
    written
}

async fn a_full_disk(disk: FaultDisk) {
    let store = open(&disk);
    assert!(disk.reserve_held());
    let written = fill(&store).await;
    assert!(!written.is_empty());

    // Reads go on, records are refused, and what must not wait goes through.
    assert_eq!(
        store.get(TABLE, b"filler 0").await.unwrap(),
        Some(vec![7; 64 * 1024])
    );
    assert_eq!(store.commit_soon(event("refused")), Err(CommitError::Full));
    let mut denial = event("denied");
    denial.put(TABLE, "lock", "engaged").urgent();
    store.commit(denial).await.unwrap();
    assert!(!disk.reserve_held());
    assert_eq!(store.commit_soon(event("refused")), Err(CommitError::Full));
    // The space of the reserve is not for everyone.
    if disk.free().unwrap() < u64::MAX {
        let ordinary = store.commit(put("ordinary", vec![7; 64 * 1024])).await;
        assert_eq!(ordinary, Err(CommitError::Full));
    }

    // A host that starts on a full disk still reads and still denies.
    drop(store);
    let store = open(&disk);
    assert_eq!(
        store.get(TABLE, b"lock").await.unwrap(),
        Some(b"engaged".to_vec())
    );
    let mut denial = event("denied again");
    denial.urgent();
    store.commit(denial).await.unwrap();

    // With space the same store goes on, and takes its reserve back.
    disk.set_capacity(256 * MEBIBYTE);
    store.commit(put("after", "space")).await.unwrap();
    store.commit_soon(event("taken over")).unwrap();
    store.commit(Commit::new()).await.unwrap();
    assert!(disk.reserve_held());
    assert_eq!(
        records(&store).await,
        ["denied", "denied again", "taken over"]
    );
    let entries = store.scan(TABLE, Scan::prefix("filler")).await.unwrap();
    assert_eq!(entries.len(), written.len());
}

#[tokio::test]
async fn a_full_disk_refuses_all_but_denials_and_recovers() {
    a_full_disk(FaultDisk::new(12 * MEBIBYTE)).await;
}

#[tokio::test]
async fn a_full_disk_that_reports_free_space_refuses_all_but_denials_and_recovers() {
    let disk = FaultDisk::new(12 * MEBIBYTE);
    disk.lie_about_space();
    a_full_disk(disk).await;
}

#[tokio::test]
async fn a_disk_with_no_space_at_the_start_opens_and_refuses() {
    let disk = FaultDisk::new(12 * MEBIBYTE);
    drop(open(&disk));
    disk.set_capacity(RESERVE);
    let store = open(&disk);
    assert_eq!(store.commit(put("a", "b")).await, Err(CommitError::Full));
    assert_eq!(store.get(TABLE, b"a").await.unwrap(), None);
}

/// Lets each disk operation of one commit fail in turn.
#[tokio::test]
async fn whichever_operation_fails_nothing_is_acknowledged_lost_or_written_twice() {
    let calm = FaultDisk::new(64 * MEBIBYTE);
    let store = open(&calm);
    store.commit(event("first")).await.unwrap();
    let before = calm.operations();
    store.commit_soon(event("soon")).unwrap();
    store.commit(event("durable")).await.unwrap();
    let operations = calm.operations() - before;
    assert!(operations > 2);

    let mut refused = 0;
    for failing in 1..=operations {
        let disk = FaultDisk::new(64 * MEBIBYTE);
        let store = open(&disk);
        store.commit(event("first")).await.unwrap();
        store.commit_soon(event("soon")).unwrap();
        disk.fail_after(failing);
        let answer = store.commit(event("durable")).await;
        let acknowledged = answer.is_ok();
        if !acknowledged {
            refused += 1;
            assert!(
                matches!(answer, Err(CommitError::Unavailable(_))),
                "{answer:?}"
            );
            assert!(store.commit_soon(event("refused")).is_err());
        }
        // The store mends itself; the record taken over is there, once, in its place.
        store.commit(event("next")).await.unwrap();
        store.commit_soon(event("soon again")).unwrap();
        drop(store);
        let mut found = records(&open(&disk)).await;
        let durable = found.iter().position(|record| record == "durable");
        assert!(durable.is_some() || !acknowledged);
        if !acknowledged && let Some(landed) = durable {
            found.remove(landed);
        } else if acknowledged {
            found.retain(|record| record != "durable");
        }
        assert_eq!(
            found,
            ["first", "soon", "next", "soon again"],
            "operation {failing}"
        );
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_failed_store_recovers_without_being_asked_and_keeps_what_it_took_over() {
    let disk = FaultDisk::new(64 * MEBIBYTE);
    let store = open(&disk);
    let mut heads = store.watch(LOG);
    disk.fail_after(1);
    store.commit_soon(event("taken over")).unwrap();
    heads.changed().await.unwrap();
    assert_eq!(records(&store).await, ["taken over"]);
    store.commit_soon(event("and on")).unwrap();
}

/// Cuts the power at every operation of a run, several times with other sectors lost.
#[tokio::test]
async fn no_acknowledged_commit_is_lost_in_a_power_cut() {
    let calm = FaultDisk::new(64 * MEBIBYTE);
    let before = calm.operations();
    run(&open(&calm)).await;
    let operations = calm.operations() - before;

    for cut in 1..=operations {
        for seed in 0..4 {
            let mut dice = Dice(cut * 1000 + seed);
            let disk = FaultDisk::new(64 * MEBIBYTE);
            disk.cut_power_after(cut);
            let acknowledged = match RedbStore::start(Arc::new(disk.clone()), Options::default()) {
                Ok(store) => run(&store).await,
                Err(_) => 0,
            };
            // Once more while it recovers.
            let disk = disk.power_up(&mut dice);
            disk.cut_power_after(1 + dice.roll() % 8);
            drop(RedbStore::start(Arc::new(disk.clone()), Options::default()));
            let disk = disk.power_up(&mut dice);

            let store = open(&disk);
            let found = records(&store).await;
            assert!(
                found.len() >= acknowledged * 2,
                "cut {cut}, seed {seed}: {found:?}"
            );
            for (index, record) in found.iter().enumerate() {
                assert_eq!(*record, format!("record {index}"), "cut {cut}, seed {seed}");
            }
            for index in 0..acknowledged {
                let key = format!("key {index}");
                let value = store.get(TABLE, key.as_bytes()).await.unwrap();
                assert_eq!(
                    value,
                    Some(vec![index as u8; 3000]),
                    "cut {cut}, seed {seed}"
                );
            }
        }
    }
}

/// Returns how many commits were acknowledged; each has one record before it and one within.
async fn run(store: &RedbStore) -> usize {
    let mut acknowledged = 0;
    for index in 0..6_usize {
        if store
            .commit_soon(event(&format!("record {}", index * 2)))
            .is_err()
        {
            break;
        }
        let mut commit = event(&format!("record {}", index * 2 + 1));
        commit.put(TABLE, format!("key {index}"), vec![index as u8; 3000]);
        match store.commit(commit).await {
            Ok(_) => acknowledged += 1,
            Err(_) => break,
        }
    }
    acknowledged
}

/// Flips one bit in each block of the file, wherever it may be.
#[tokio::test]
async fn a_flipped_bit_never_gives_a_wrong_value() {
    let key = |number: usize| format!("key {number:03}");
    let value = |number: usize| vec![number as u8; 100 + number];
    let disk = FaultDisk::new(64 * MEBIBYTE);
    let store = open(&disk);
    let mut commit = Commit::new();
    for number in 0..100 {
        commit.put(TABLE, key(number), value(number));
        commit.append(LOG, value(number));
    }
    store.commit(commit).await.unwrap();
    drop(store);
    let good = disk.content();
    let used = good.iter().rposition(|byte| *byte != 0).unwrap();
    let mut named = 0;
    for block in (0..used).step_by(512) {
        let mut damaged = good.clone();
        damaged[block + (block / 512 * 37) % 512] ^= 1 << (block / 512 % 8);
        let disk = Arc::new(FaultDisk::with(damaged));
        let store = match RedbStore::start(disk, Options::default()) {
            Ok(store) => store,
            Err(refusal) => {
                assert!(matches!(refusal, OpenError::Corrupt { .. }), "{refusal}");
                named += 1;
                continue;
            }
        };
        for number in 0..100 {
            match store.get(TABLE, key(number).as_bytes()).await {
                Ok(Some(found)) => assert_eq!(found, value(number), "block {block}"),
                Ok(None) | Err(ReadError::Corrupt { .. }) => named += 1,
                Err(error) => panic!("block {block}: {error}"),
            }
        }
        match store.scan(TABLE, Scan::default()).await {
            Ok(entries) => {
                for (found, stored) in entries {
                    let number = (0..100).find(|number| key(*number).as_bytes() == found);
                    assert_eq!(Some(stored), number.map(value), "block {block}");
                }
            }
            Err(error) => assert!(matches!(error, ReadError::Corrupt { .. }), "{error}"),
        }
    }
    assert!(named > 0);
}
