//! Pages of invocations.

use nexus_gate::{InvocationId, Principal};
use nexus_runtime::{InvocationState, Invoke, Wanted};
use nexus_store::{Commit, Scan, Table};

use crate::guests::{ECHO, NULL, agent};
use crate::support::{Host, call, me};

const ROWS: Table = Table("invocations");

/// More than are looked at for one page.
const MANY: usize = 5_000;

/// A host with an invocation that is stored, and as many copies of its row.
async fn crowded() -> (Host, Vec<InvocationId>) {
    let host = Host::new().await;
    host.publish(agent("idle", "", "", NULL)).await;
    let kept = Invoke {
        request_id: Some("kept".to_owned()),
        ..call("idle", "null")
    };
    let running = host.runtime.invoke(kept).await.unwrap();
    running.outcome().await;
    let store = &host.services.store;
    let rows = store
        .scan(
            ROWS,
            Scan {
                limit: 9,
                ..Scan::default()
            },
        )
        .await;
    let [(_, row)] = &rows.unwrap()[..] else {
        panic!("one row")
    };
    let row = String::from_utf8(row.clone()).unwrap();
    let own = running.id().to_string();
    let ids: Vec<_> = (0..MANY).map(|_| InvocationId::new()).collect();
    for some in ids.chunks(500) {
        let mut commit = Commit::new();
        for id in some.iter().map(ToString::to_string) {
            commit.put(ROWS, id.as_bytes(), row.replace(&own, &id).into_bytes());
        }
        store.commit(commit).await.unwrap();
    }
    (host, ids)
}

#[tokio::test]
async fn a_page_that_finds_nothing_ends_and_says_where_to_go_on() {
    let (host, ids) = crowded().await;
    let wanted = Wanted {
        principal: Some(Principal::new("a stranger")),
        ..Wanted::default()
    };
    let first = host.runtime.invocations(&wanted, None, 1).await.unwrap();
    assert!(first.invocations.is_empty());
    let next = first.next.expect("not all was looked at");
    assert!(ids.contains(&next));
    let second = host
        .runtime
        .invocations(&wanted, Some(&next), 1)
        .await
        .unwrap();
    assert!(second.invocations.is_empty());
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn pages_hold_what_is_stored_and_what_is_in_memory_once_each() {
    let (host, mut ids) = crowded().await;
    // Only in memory, and newer than all rows.
    let running = host.start("idle", "null").await;
    running.outcome().await;
    let wanted = Wanted {
        agent: Some("idle".parse().unwrap()),
        principal: Some(me()),
        state: Some(InvocationState::Succeeded),
    };
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = host
            .runtime
            .invocations(&wanted, before.as_ref(), 999)
            .await;
        let page = page.unwrap();
        assert!(page.invocations.len() <= 999);
        found.extend(page.invocations.iter().map(|record| record.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found.remove(0), running.id());
    let stored = found.pop().unwrap();
    ids.reverse();
    assert_eq!(found, ids);
    // That one is in memory and has a row.
    assert!(host.runtime.running_invocation(&stored).is_some());
}

#[tokio::test]
async fn a_page_ends_when_its_answers_are_large() {
    let host = Host::new().await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let input = format!("\"{}\"", "a".repeat(2_000_000));
    for request in 0..6 {
        let kept = Invoke {
            request_id: Some(request.to_string()),
            ..call("echo", &input)
        };
        host.runtime.invoke(kept).await.unwrap().outcome().await;
    }
    let wanted = Wanted::default();
    let first = host.runtime.invocations(&wanted, None, 50).await.unwrap();
    assert_eq!(first.invocations.len(), 5, "each has 2 MB");
    let rest = host
        .runtime
        .invocations(&wanted, first.next.as_ref(), 50)
        .await;
    assert_eq!(rest.unwrap().invocations.len(), 1);
}
