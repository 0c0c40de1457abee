//! Memory spaces: what is written is there, counted and recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use nexus_audit::{Event, EventKind};
use nexus_effects::Error;
use nexus_effects::memory::{Call, Entry, Key, MAX_VALUE, Page, Range};
use nexus_gate::{Label, StartError, kind};
use nexus_store::{Commit, Table};

use crate::house::House;

const SPACES: [&str; 3] = ["kb", "kb-2", "load"];

fn key(text: &str) -> Key {
    let (space, key) = text.split_once('/').unwrap();
    Key::new(space.parse().unwrap(), key).unwrap()
}

impl House {
    fn action(&self, call: &Call, labels: BTreeSet<Label>) -> nexus_gate::Action {
        let spaces = SPACES
            .map(|space| format!("memory = {{ space = \"{space}\", access = \"read-write\" }}"));
        call.action(self.context(&spaces), self.next(), labels)
    }

    async fn put(&self, at: &str, value: &str) -> u64 {
        let call = Call::Put(key(at), Bytes::from(value.to_owned()));
        let permit = self.permit(self.action(&call, BTreeSet::new())).await;
        self.memory
            .put(permit, key(at), value.to_owned().into())
            .await
            .unwrap()
    }

    async fn put_if(&self, at: &str, value: &str, revision: Option<u64>) -> Option<u64> {
        let value = Bytes::from(value.to_owned());
        let call = Call::PutIf(key(at), value.clone(), revision);
        let permit = self.permit(self.action(&call, BTreeSet::new())).await;
        self.memory
            .put_if(permit, key(at), value, revision)
            .await
            .unwrap()
            .revision
    }

    async fn get(&self, at: &str) -> Option<Entry> {
        let permit = self
            .permit(self.action(&Call::Get(key(at)), BTreeSet::new()))
            .await;
        self.memory.get(permit, key(at)).await.unwrap()
    }

    async fn delete(&self, at: &str) {
        let permit = self
            .permit(self.action(&Call::Delete(key(at)), BTreeSet::new()))
            .await;
        self.memory.delete(permit, key(at)).await.unwrap();
    }

    async fn scan(&self, space: &str, prefix: &str, after: Option<&str>, limit: u32) -> Page {
        let range = Range::new(
            space.parse().unwrap(),
            prefix,
            after.map(str::to_owned),
            limit,
        )
        .unwrap();
        let permit = self
            .permit(self.action(&Call::Scan(range.clone()), BTreeSet::new()))
            .await;
        self.memory.scan(permit, range).await.unwrap()
    }
}

fn keys(page: &Page) -> Vec<&str> {
    page.entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect()
}

#[tokio::test]
async fn revisions_grow_and_outlive_deletions() {
    let house = House::new().await;
    assert_eq!(house.put("kb/a", "1").await, 1);
    assert_eq!(house.put("kb/b", "2").await, 2);
    assert_eq!(house.put("kb-2/a", "other").await, 1);
    house.delete("kb/a").await;
    house.delete("kb/a").await;
    assert_eq!(house.get("kb/a").await, None);
    assert_eq!(house.put("kb/a", "3").await, 3);
    let entry = house.get("kb/a").await.unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision), (&b"3"[..], 3));
    assert_eq!(house.get("kb-2/a").await.unwrap().value, b"other");
}

#[tokio::test]
async fn a_conditional_write_happens_at_its_revision_only() {
    let house = House::new().await;
    assert_eq!(house.put_if("kb/a", "first", None).await, Some(1));
    assert_eq!(house.put_if("kb/a", "again", None).await, None);
    assert_eq!(house.put_if("kb/a", "wrong", Some(7)).await, None);
    assert_eq!(house.put_if("kb/a", "second", Some(1)).await, Some(2));
    assert_eq!(house.put_if("kb/a", "stale", Some(1)).await, None);
    assert_eq!(house.get("kb/a").await.unwrap().value, b"second");
    house.delete("kb/a").await;
    assert_eq!(house.put_if("kb/a", "gone", Some(2)).await, None);
    assert_eq!(house.put_if("kb/a", "anew", None).await, Some(3));
}

#[tokio::test]
async fn writers_at_once_lose_nothing() {
    let house = Arc::new(House::new().await);
    let adding = (0..8).map(|_| {
        let house = house.clone();
        tokio::spawn(async move {
            let mut left = 10;
            while left > 0 {
                let entry = house.get("load/sum").await;
                let sum: u64 = entry
                    .as_ref()
                    .map_or(0, |e| String::from_utf8_lossy(&e.value).parse().unwrap());
                let revision = entry.map(|entry| entry.revision);
                left -= u64::from(
                    house
                        .put_if("load/sum", &(sum + 1).to_string(), revision)
                        .await
                        .is_some(),
                );
            }
        })
    });
    let putting = (0..8).map(|n| {
        let house = house.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                house.put(&format!("load/{n}"), "x").await;
            }
        })
    });
    for task in adding.chain(putting).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(house.get("load/sum").await.unwrap().value, b"80");
    let last = house.put("load/last", "x").await;
    assert_eq!(last, 8 * 10 + 8 * 10 + 1, "every revision was used once");
}

#[tokio::test]
async fn scans_stay_in_their_range_and_size() {
    let house = House::new().await;
    for at in ["kb/a/1", "kb/a/2", "kb/b/1", "kb/ä", "kb-2/a/3", "kb/a"] {
        house.put(at, "x").await;
    }
    assert_eq!(
        keys(&house.scan("kb", "", None, 1000).await),
        ["a", "a/1", "a/2", "b/1", "ä"]
    );
    assert_eq!(
        keys(&house.scan("kb", "a/", None, 1000).await),
        ["a/1", "a/2"]
    );
    assert_eq!(
        keys(&house.scan("kb", "", Some("a/2"), 1000).await),
        ["b/1", "ä"]
    );
    let page = house.scan("kb", "a", None, 2).await;
    assert_eq!(
        (keys(&page), page.next.as_deref()),
        (vec!["a", "a/1"], Some("a/1"))
    );
    let page = house.scan("kb", "a", Some("a/1"), 2).await;
    assert_eq!((keys(&page), page.next.as_deref()), (vec!["a/2"], None));

    let big = "v".repeat(MAX_VALUE);
    for n in 0..3 {
        house.put(&format!("load/{n}"), &big).await;
    }
    for n in 0..40 {
        house.put(&format!("load/small-{n:02}"), "x").await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = house.scan("load", "", after.as_deref(), 20).await;
        let bytes: usize = page.entries.iter().map(|entry| entry.value.len()).sum();
        assert!(!page.entries.is_empty() && bytes <= 2 * 1024 * 1024);
        seen.extend(page.entries.into_iter().map(|entry| entry.key));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen.len(), 43);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn sizes_are_limited() {
    let space = || "kb".parse().unwrap();
    assert!(Key::new(space(), "").is_err() && Key::new(space(), "k".repeat(513)).is_err());
    assert!(Key::new(space(), "k".repeat(512)).is_ok());
    assert!(
        Range::new(space(), "", None, 0).is_err() && Range::new(space(), "", None, 1001).is_err()
    );
    let house = House::new().await;
    let value = Bytes::from(vec![0; MAX_VALUE + 1]);
    let permit = house
        .permit(house.action(&Call::Put(key("kb/a"), value.clone()), BTreeSet::new()))
        .await;
    assert!(matches!(
        house.memory.put(permit, key("kb/a"), value).await,
        Err(Error::Invalid(_))
    ));
    assert_eq!(house.get("kb/a").await, None);
}

#[tokio::test]
async fn a_permit_is_for_its_own_call() {
    let house = House::new().await;
    let permit = async |call: Call| {
        house
            .permit::<kind::MemoryWrite>(house.action(&call, BTreeSet::new()))
            .await
    };
    let put = || Call::Put(key("kb/a"), "one".into());
    let other = house
        .memory
        .put(permit(put()).await, key("kb/b"), "one".into())
        .await;
    assert!(matches!(other, Err(Error::Forbidden(_))), "{other:?}");
    let other = house.memory.delete(permit(put()).await, key("kb/a")).await;
    assert!(matches!(other, Err(Error::Forbidden(_))), "{other:?}");
    let changed = house
        .memory
        .put(permit(put()).await, key("kb/a"), "two".into())
        .await;
    assert!(
        matches!(changed, Err(Error::Refused(StartError::Changed { .. }))),
        "{changed:?}"
    );
    let call = Call::PutIf(key("kb/a"), "one".into(), Some(3));
    let changed = house
        .memory
        .put_if(permit(call).await, key("kb/a"), "one".into(), None)
        .await;
    assert!(
        matches!(changed, Err(Error::Refused(StartError::Changed { .. }))),
        "{changed:?}"
    );
    assert_eq!(house.scan("kb", "", None, 10).await.entries, []);
}

#[tokio::test]
async fn writes_are_recorded_with_what_they_wrote_and_keep_their_labels() {
    let house = House::new().await;
    let labels: BTreeSet<Label> = [Label::Untrusted, Label::Secret("key".into())].into();
    let call = Call::Put(key("kb/a"), "one".into());
    let permit = house.permit(house.action(&call, labels.clone())).await;
    house
        .memory
        .put(permit, key("kb/a"), "one".into())
        .await
        .unwrap();
    assert_eq!(house.get("kb/a").await.unwrap().labels, labels);
    assert_eq!(house.count(EventKind::EffectStarted).await, 1);
    assert_eq!(house.count(EventKind::EffectFinished).await, 1);
    assert_eq!(house.put_if("kb/a", "two", None).await, None);
    let events = house.events().await;
    let failed = events
        .iter()
        .filter(|event| event.outcome.as_deref() == Some("failed"));
    assert_eq!(failed.count(), 1);
}

#[tokio::test]
async fn the_operator_reads_and_writes_with_an_event_each() {
    let house = House::new().await;
    let event = || Event::new(EventKind::RequestReceived).principal("operator");
    let memory = &house.memory;
    assert_eq!(
        memory
            .operator_put(&key("kb/a"), "one".into(), event())
            .await
            .unwrap(),
        1
    );
    assert_eq!(house.put("kb/b", "two").await, 2);
    assert_eq!(
        memory
            .operator_put_if(&key("kb/a"), "x".into(), Some(9), event())
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        memory
            .operator_put_if(&key("kb/a"), "three".into(), Some(1), event())
            .await
            .unwrap(),
        Some(3)
    );
    assert_eq!(
        memory
            .operator_get(&key("kb/a"), event())
            .await
            .unwrap()
            .unwrap()
            .value,
        b"three"
    );
    let range = Range::new("kb".parse().unwrap(), "", None, 10).unwrap();
    assert_eq!(
        keys(&memory.operator_scan(&range, event()).await.unwrap()),
        ["a", "b"]
    );
    memory.operator_delete(&key("kb/a"), event()).await.unwrap();
    assert_eq!(
        memory.operator_get(&key("kb/a"), event()).await.unwrap(),
        None
    );
    let by_operator = house
        .events()
        .await
        .into_iter()
        .filter(|e| e.principal.as_deref() == Some("operator"));
    assert_eq!(by_operator.count(), 6);
    assert!(
        house
            .store
            .get(nexus_store::Table("memory"), b"kb\0b")
            .await
            .unwrap()
            .is_some()
    );
}

const ENTRIES: Table = Table("memory");

#[tokio::test]
async fn what_is_stored_is_sealed_and_bound_to_its_place() {
    let house = House::new().await;
    let labels: BTreeSet<Label> = [Label::Secret("label-canary".into())].into();
    let value = "the value of the canary";
    let call = Call::Put(key("kb/a"), value.into());
    let permit = house.permit(house.action(&call, labels.clone())).await;
    house
        .memory
        .put(permit, key("kb/a"), value.into())
        .await
        .unwrap();
    house.put("kb/b", "another").await;
    let stored = |name: &'static [u8]| async {
        let stored = house.store.get(ENTRIES, name).await.unwrap();
        stored.unwrap()
    };
    let (a, b) = (stored(b"kb\0a").await, stored(b"kb\0b").await);
    for word in ["canary", "label", "secret", "value"] {
        let found = a.windows(word.len()).any(|w| w == word.as_bytes());
        assert!(!found, "{word} lies open");
    }
    let event = || Event::new(EventKind::RequestReceived).principal("operator");
    let put_back = |bytes: Vec<u8>| async {
        let mut commit = Commit::new();
        commit.put(ENTRIES, b"kb\0a", bytes);
        house.store.commit(commit).await.unwrap();
        house.memory.operator_get(&key("kb/a"), event()).await
    };
    // Any bit of it, another entry's row, and one of the time before sealing.
    for at in 0..a.len() {
        let mut changed = a.clone();
        changed[at] ^= 1 << (at % 8);
        let read = put_back(changed).await;
        assert!(matches!(read, Err(Error::Other(_))), "byte {at}: {read:?}");
    }
    for other in [b, open_row(7, "planted"), Vec::new()] {
        let read = put_back(other).await;
        assert!(matches!(read, Err(Error::Other(_))), "{read:?}");
    }
    let read = put_back(a).await.unwrap().unwrap();
    assert_eq!(
        (read.value.as_slice(), read.labels),
        (value.as_bytes(), labels)
    );
}

/// A row as it was written before rows were sealed, with the label `untrusted`.
fn open_row(revision: u64, value: &str) -> Vec<u8> {
    let mut row = vec![1];
    row.extend(revision.to_be_bytes());
    row.extend([0, 1, 0, 9]);
    row.extend(b"untrusted");
    row.extend(value.as_bytes());
    row
}

#[tokio::test]
async fn what_an_earlier_version_left_in_clear_is_sealed_once() {
    let house = House::new().await;
    let count = 40;
    let name = |at: u64| format!("kb\0{at:03}");
    let mut commit = Commit::new();
    for at in 0..count {
        commit.put(ENTRIES, name(at), open_row(at + 1, &format!("value {at}")));
    }
    commit.put(Table("memory_revisions"), "kb", count.to_be_bytes());
    house.store.commit(commit).await.unwrap();
    assert_eq!(house.memory.seal_leftovers().await.unwrap(), count);
    for at in 0..count {
        let stored = house.store.get(ENTRIES, name(at).as_bytes()).await.unwrap();
        assert_eq!(stored.unwrap()[0], 2);
        let entry = house.get(&format!("kb/{at:03}")).await.unwrap();
        assert_eq!(entry.value, format!("value {at}").into_bytes());
        assert_eq!(
            (entry.revision, entry.labels),
            (at + 1, [Label::Untrusted].into())
        );
    }
    assert_eq!(house.put("kb/new", "x").await, count + 1);
    // From then on nobody takes one for an entry of ours.
    let mut commit = Commit::new();
    commit.put(ENTRIES, name(3), open_row(4, "planted"));
    house.store.commit(commit).await.unwrap();
    assert_eq!(house.memory.seal_leftovers().await.unwrap(), 0);
    let event = Event::new(EventKind::RequestReceived).principal("operator");
    let read = house.memory.operator_get(&key("kb/003"), event).await;
    assert!(matches!(read, Err(Error::Other(_))), "{read:?}");
}
