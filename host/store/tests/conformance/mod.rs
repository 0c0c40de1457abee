//! What every backend of the store has to keep. A backend runs all of it with
//! `conformance!(empty)`, where `empty` makes an empty store and whatever has to live as long.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::Arc;

use nexus_store::{
    Commit, CommitError, GENESIS, Log, LogRecord, Position, Scan, Store, Table, link,
};

const TABLE: Table = Table("table");
const OTHER: Table = Table("other");
const LOG: Log = Log("log");
const SECOND: Log = Log("second");

/// Makes one test of each promise.
macro_rules! conformance {
    ($open:expr) => {
        conformance!($open;
            what_is_committed_can_be_read,
            a_conflict_writes_nothing_and_names_the_entry,
            a_conflict_does_not_touch_the_commits_beside_it,
            of_many_claims_to_one_key_exactly_one_wins,
            expectations_see_the_commits_before_them,
            operations_run_in_order,
            a_scan_keeps_to_prefix_place_limit_and_direction,
            records_are_chained_per_log,
            a_log_keeps_its_chain_when_its_beginning_goes,
            positions_come_back_in_the_order_of_the_commit,
            records_committed_soon_keep_their_place,
            only_appends_can_wait,
            an_empty_commit_is_a_barrier,
            a_log_can_be_followed,
            records_committed_soon_need_no_later_commit,
            a_commit_that_is_too_large_is_refused,
            a_caller_that_stops_waiting_breaks_nothing,
        );
    };
    ($open:expr; $($promise:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let (store, _guard) = $open();
                conformance::$promise(store).await;
            }
        )*
    };
}
pub(crate) use conformance;

fn put(table: Table, key: &str, value: &str) -> Commit {
    let mut commit = Commit::new();
    commit.put(table, key, value);
    commit
}

fn event(log: Log, record: impl Into<Vec<u8>>) -> Commit {
    let mut commit = Commit::new();
    commit.append(log, record);
    commit
}

async fn texts(store: &dyn Store, log: Log) -> Vec<String> {
    let records = store.read_log(log, 0, usize::MAX).await.unwrap();
    records
        .into_iter()
        .map(|record| String::from_utf8(record.record).unwrap())
        .collect()
}

fn assert_chained(records: &[LogRecord]) {
    let mut previous = GENESIS;
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.sequence, index as u64 + 1);
        assert_eq!(record.previous, previous);
        assert_eq!(
            record.hash,
            link(&previous, record.sequence, &record.record)
        );
        previous = record.hash;
    }
}

pub(crate) async fn what_is_committed_can_be_read(store: Arc<dyn Store>) {
    assert_eq!(store.get(TABLE, b"a").await.unwrap(), None);
    let mut commit = put(TABLE, "a", "1");
    commit.put(OTHER, "a", "2").put(TABLE, "empty", "");
    store.commit(commit).await.unwrap();
    assert_eq!(store.get(TABLE, b"a").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.get(OTHER, b"a").await.unwrap(), Some(b"2".to_vec()));
    assert_eq!(store.get(TABLE, b"empty").await.unwrap(), Some(Vec::new()));

    let mut commit = put(TABLE, "a", "3");
    commit.delete(OTHER, "a").delete(OTHER, "never there");
    store.commit(commit).await.unwrap();
    assert_eq!(store.get(TABLE, b"a").await.unwrap(), Some(b"3".to_vec()));
    assert_eq!(store.get(OTHER, b"a").await.unwrap(), None);
}

pub(crate) async fn a_conflict_writes_nothing_and_names_the_entry(store: Arc<dyn Store>) {
    store.commit(put(TABLE, "taken", "1")).await.unwrap();
    let conflict = |key: &str| CommitError::Conflict {
        table: TABLE,
        key: key.as_bytes().to_vec(),
    };
    let mut refused = vec![];
    let mut commit = Commit::new();
    commit.expect_absent(TABLE, "taken");
    refused.push((commit, "taken"));
    let mut commit = Commit::new();
    commit.expect_value(TABLE, "taken", "2");
    refused.push((commit, "taken"));
    let mut commit = Commit::new();
    commit.expect_value(TABLE, "free", "1");
    refused.push((commit, "free"));
    let mut commit = Commit::new();
    commit
        .expect_absent(TABLE, "free")
        .expect_value(TABLE, "taken", "1")
        .expect_value(TABLE, "also free", "");
    refused.push((commit, "also free"));

    for (mut commit, key) in refused {
        commit
            .put(TABLE, "written", "1")
            .delete(TABLE, "taken")
            .append(LOG, "written");
        assert_eq!(store.commit(commit).await, Err(conflict(key)));
    }
    assert_eq!(store.get(TABLE, b"written").await.unwrap(), None);
    assert_eq!(
        store.get(TABLE, b"taken").await.unwrap(),
        Some(b"1".to_vec())
    );
    assert_eq!(store.head(LOG).await.unwrap(), Position::EMPTY);
}

pub(crate) async fn a_conflict_does_not_touch_the_commits_beside_it(store: Arc<dyn Store>) {
    store.commit(put(TABLE, "taken", "1")).await.unwrap();
    let calls = (0..300).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut commit = event(LOG, format!("{number}"));
            commit.put(TABLE, format!("key {number:03}"), "1");
            if number % 3 == 0 {
                commit.expect_absent(TABLE, "taken");
            }
            store.commit(commit).await
        })
    });
    let mut good = 0;
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(_) => {
                assert_ne!(number % 3, 0);
                good += 1;
            }
            Err(error) => {
                assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
                assert_eq!(number % 3, 0);
            }
        }
    }
    assert_eq!(good, 200);
    let entries = store.scan(TABLE, Scan::prefix("key")).await.unwrap();
    assert_eq!(entries.len(), 200);
    let records = store.read_log(LOG, 0, usize::MAX).await.unwrap();
    assert_eq!(records.len(), 200);
    assert_chained(&records);
}

pub(crate) async fn of_many_claims_to_one_key_exactly_one_wins(store: Arc<dyn Store>) {
    let calls = (0..64).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut commit = put(TABLE, "approval", &format!("{number}"));
            commit.expect_absent(TABLE, "approval");
            store.commit(commit).await.map(|_| number)
        })
    });
    let mut winners = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        winners.extend(call.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        store.get(TABLE, b"approval").await.unwrap(),
        Some(winners[0].to_string().into_bytes())
    );
}

pub(crate) async fn expectations_see_the_commits_before_them(store: Arc<dyn Store>) {
    // Handed over without waiting in between, so that a backend that groups them is put to test.
    let mut create = put(TABLE, "state", "1");
    create.expect_absent(TABLE, "state");
    let mut advance = put(TABLE, "state", "2");
    advance.expect_value(TABLE, "state", "1");
    let mut stale = put(TABLE, "state", "3");
    stale.expect_value(TABLE, "state", "1");
    let mut remove = Commit::new();
    remove
        .expect_value(TABLE, "state", "2")
        .delete(TABLE, "state");
    let mut create_again = put(TABLE, "state", "4");
    create_again.expect_absent(TABLE, "state");
    let results = tokio::join!(
        biased;
        store.commit(create),
        store.commit(advance),
        store.commit(stale),
        store.commit(remove),
        store.commit(create_again),
    );
    assert!(results.0.is_ok() && results.1.is_ok() && results.3.is_ok() && results.4.is_ok());
    assert!(matches!(results.2, Err(CommitError::Conflict { .. })));
    assert_eq!(
        store.get(TABLE, b"state").await.unwrap(),
        Some(b"4".to_vec())
    );
}

pub(crate) async fn operations_run_in_order(store: Arc<dyn Store>) {
    let mut commit = put(TABLE, "a", "1");
    commit
        .delete(TABLE, "a")
        .delete(TABLE, "b")
        .put(TABLE, "b", "1")
        .put(TABLE, "b", "2");
    store.commit(commit).await.unwrap();
    assert_eq!(store.get(TABLE, b"a").await.unwrap(), None);
    assert_eq!(store.get(TABLE, b"b").await.unwrap(), Some(b"2".to_vec()));
}

pub(crate) async fn a_scan_keeps_to_prefix_place_limit_and_direction(store: Arc<dyn Store>) {
    let mut commit = Commit::new();
    for key in ["a", "b", "b/1", "b/2", "b/3", "b\u{7f}", "c"] {
        commit.put(TABLE, key, key);
    }
    commit
        .put(TABLE, [0xff], "last")
        .put(TABLE, [0xff, 0xff, 1], "very last");
    store.commit(commit).await.unwrap();
    let scan = async |prefix: &[u8], after: Option<&[u8]>, limit, reverse| {
        let scan = Scan {
            prefix: prefix.to_vec(),
            after: after.map(<[u8]>::to_vec),
            limit,
            reverse,
        };
        let entries = store.scan(TABLE, scan).await.unwrap();
        entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let all = usize::MAX;
    assert_eq!(
        scan(b"b/", None, all, false).await,
        [b"b/1", b"b/2", b"b/3"]
    );
    assert_eq!(scan(b"b/", None, all, true).await, [b"b/3", b"b/2", b"b/1"]);
    assert_eq!(
        scan(b"b/", Some(b"b/1"), all, false).await,
        [b"b/2", b"b/3"]
    );
    assert_eq!(scan(b"b/", Some(b"b/3"), all, true).await, [b"b/2", b"b/1"]);
    assert_eq!(scan(b"b/", Some(b"b/1"), 1, false).await, [b"b/2"]);
    assert_eq!(scan(b"b/", None, 2, true).await, [b"b/3", b"b/2"]);
    assert_eq!(scan(b"b/", Some(b"a"), all, false).await.len(), 3);
    assert_eq!(scan(b"b/", Some(b"c"), all, true).await.len(), 3);
    assert_eq!(scan(b"b/", Some(b"c"), all, false).await.len(), 0);
    assert_eq!(scan(b"b/", Some(b"a"), all, true).await.len(), 0);
    assert_eq!(scan(b"b/", Some(b"b/3"), all, false).await.len(), 0);
    assert_eq!(scan(b"b/", Some(b"b/1"), all, true).await.len(), 0);
    assert_eq!(scan(b"b/", None, 0, false).await.len(), 0);
    assert_eq!(scan(b"\xff", None, all, false).await.len(), 2);
    assert_eq!(scan(b"", None, all, false).await.len(), 9);
    assert_eq!(scan(b"", Some(b"c"), all, false).await.len(), 2);
    assert_eq!(scan(b"nothing", None, all, false).await.len(), 0);
    assert!(store.scan(OTHER, Scan::default()).await.unwrap().is_empty());
}

pub(crate) async fn records_are_chained_per_log(store: Arc<dyn Store>) {
    assert_eq!(store.head(LOG).await.unwrap(), Position::EMPTY);
    assert!(store.read_log(LOG, 0, 10).await.unwrap().is_empty());
    for number in 0..20 {
        let mut commit = event(LOG, format!("a{number}"));
        commit.append(SECOND, format!("b{number}")).append(LOG, "");
        store.commit(commit).await.unwrap();
    }
    for (log, length) in [(LOG, 40), (SECOND, 20)] {
        let records = store.read_log(log, 0, usize::MAX).await.unwrap();
        assert_eq!(records.len(), length);
        assert_chained(&records);
        let last = records.last().unwrap();
        let head = store.head(log).await.unwrap();
        assert_eq!((head.sequence, head.hash), (last.sequence, last.hash));
        let some = store.read_log(log, 5, 3).await.unwrap();
        assert_eq!(some, records[4..7]);
        assert!(store.read_log(log, 41, 3).await.unwrap().is_empty());
    }
}

pub(crate) async fn a_log_keeps_its_chain_when_its_beginning_goes(store: Arc<dyn Store>) {
    for number in 1..=10 {
        store.commit(event(LOG, format!("{number}"))).await.unwrap();
        store
            .commit(event(SECOND, format!("{number}")))
            .await
            .unwrap();
    }
    let trim = async |before| {
        let mut commit = Commit::new();
        commit.trim(LOG, before);
        store.commit(commit).await.unwrap();
        texts(&*store, LOG).await
    };
    let head = store.head(LOG).await.unwrap();
    assert_eq!(trim(0).await.len(), 10);
    assert_eq!(trim(8).await, ["8", "9", "10"]);
    assert_eq!(trim(3).await, ["8", "9", "10"], "it is gone already");
    assert_eq!(
        trim(u64::MAX).await,
        ["10"],
        "what follows needs the last one"
    );
    assert_eq!(store.head(LOG).await.unwrap(), head);
    assert_eq!(texts(&*store, SECOND).await.len(), 10);
    let committed = store.commit(event(LOG, "11")).await.unwrap();
    assert_eq!(committed.positions[0].sequence, 11);
    let records = store.read_log(LOG, 0, 10).await.unwrap();
    assert_eq!(records[1].previous, head.hash);
    assert!(trim(5).await.len() == 2 && !trim(11).await.is_empty());
    // An empty log has nothing to lose.
    let mut commit = Commit::new();
    commit.trim(Log("empty"), 5);
    store.commit(commit).await.unwrap();
}

pub(crate) async fn positions_come_back_in_the_order_of_the_commit(store: Arc<dyn Store>) {
    store.commit(event(SECOND, "x")).await.unwrap();
    let mut commit = event(LOG, "a");
    commit
        .append(SECOND, "b")
        .put(TABLE, "k", "v")
        .append(LOG, "c");
    let committed = store.commit(commit).await.unwrap();
    let first = link(&GENESIS, 1, b"a");
    let expected = [
        Position {
            sequence: 1,
            hash: first,
        },
        Position {
            sequence: 2,
            hash: link(&link(&GENESIS, 1, b"x"), 2, b"b"),
        },
        Position {
            sequence: 2,
            hash: link(&first, 2, b"c"),
        },
    ];
    assert_eq!(committed.positions, expected);
}

pub(crate) async fn records_committed_soon_keep_their_place(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for round in 0..20 {
        for number in 0..round {
            let record = format!("soon {round} {number}");
            store.commit_soon(event(LOG, record.as_str())).unwrap();
            expected.push(record);
        }
        let record = format!("now {round}");
        let committed = store.commit(event(LOG, record.as_str())).await.unwrap();
        expected.push(record);
        assert_eq!(committed.positions[0].sequence, expected.len() as u64);
        assert_eq!(texts(&*store, LOG).await, expected);
    }
}

pub(crate) async fn only_appends_can_wait(store: Arc<dyn Store>) {
    let mut expecting = event(LOG, "a");
    expecting.expect_absent(TABLE, "k");
    let mut deleting = event(LOG, "a");
    deleting.delete(TABLE, "k");
    for commit in [put(TABLE, "k", "v"), expecting, deleting] {
        assert_eq!(store.commit_soon(commit), Err(CommitError::OnlyAppends));
    }
    store.commit(Commit::new()).await.unwrap();
    assert_eq!(store.head(LOG).await.unwrap(), Position::EMPTY);
}

pub(crate) async fn an_empty_commit_is_a_barrier(store: Arc<dyn Store>) {
    for number in 0..3000 {
        store.commit_soon(event(LOG, format!("{number}"))).unwrap();
    }
    let committed = store.commit(Commit::new()).await.unwrap();
    assert!(committed.positions.is_empty());
    let records = store.read_log(LOG, 0, usize::MAX).await.unwrap();
    assert_eq!(records.len(), 3000);
    assert_chained(&records);
}

pub(crate) async fn a_log_can_be_followed(store: Arc<dyn Store>) {
    store.commit(event(LOG, "before")).await.unwrap();
    let mut heads = store.watch(LOG);
    assert_eq!(*heads.borrow_and_update(), 1);
    store.commit(event(SECOND, "elsewhere")).await.unwrap();
    store.commit(event(LOG, "after")).await.unwrap();
    heads.changed().await.unwrap();
    assert_eq!(*heads.borrow_and_update(), 2);
    assert!(!heads.has_changed().unwrap());
}

pub(crate) async fn records_committed_soon_need_no_later_commit(store: Arc<dyn Store>) {
    let mut heads = store.watch(LOG);
    store.commit_soon(event(LOG, "a")).unwrap();
    heads.changed().await.unwrap();
    assert_eq!(texts(&*store, LOG).await, ["a"]);
}

pub(crate) async fn a_commit_that_is_too_large_is_refused(store: Arc<dyn Store>) {
    let large = vec![0; Commit::MAX_BYTES + 1];
    let refusal = CommitError::TooLarge {
        bytes: large.len(),
        limit: Commit::MAX_BYTES,
    };
    let soon = store.commit_soon(event(LOG, large.clone()));
    assert_eq!(soon, Err(refusal.clone()));
    assert_eq!(store.commit(event(LOG, large)).await, Err(refusal));
    store.commit(event(LOG, "small")).await.unwrap();
}

pub(crate) async fn a_caller_that_stops_waiting_breaks_nothing(store: Arc<dyn Store>) {
    for number in 0..20 {
        let mut call = Box::pin(store.commit(event(LOG, format!("{number}"))));
        // Polled once, then dropped.
        tokio::select! {
            biased;
            _ = &mut call => {}
            () = std::future::ready(()) => {}
        }
    }
    store.commit(event(LOG, "last")).await.unwrap();
    let records = store.read_log(LOG, 0, usize::MAX).await.unwrap();
    assert_eq!(records.len(), 21);
    assert_chained(&records);
}
