//! Changes whose caller leaves at the commit, and commits that are answered with an error and are
//! written all the same: what answers is what the store says.

use nexus_gate::{Filter, Page, State};
use nexus_manifest::Digest;
use nexus_runtime::{Change, Outcome, Publish, PublishError, let_go};
use nexus_store::{Commit, Scan, Store as _, Table};

use crate::guests::agent;
use crate::people::asks;
use crate::support::{Host, me, name, success};

const AGENTS: &str = "agents";

fn numbered(number: u32) -> bytes::Bytes {
    let body = format!(
        "(i32.store8 (i32.const 2048) (i32.const {})) (call $ok (i32.const 2048) (i32.const 1))",
        48 + number
    );
    agent("counter", "", "", &body)
}

/// Begins a change, drops its future once its commit is written, and lets the commit be answered.
macro_rules! leave {
    ($host:expr, $change:expr) => {{
        let mut hold = $host.faulty.hold_answer(AGENTS);
        let mut change = Box::pin($change);
        tokio::select! {
            biased;
            _ = &mut change => panic!("its commit is held"),
            () = hold.reached() => {}
        }
        drop(change);
    }};
}

/// What answers, here and after a restart.
async fn answers(host: Host, number: Option<u64>) {
    let counter = name("counter");
    let live = |host: &Host| host.runtime.get(&counter).map(|live| live.number);
    assert_eq!(live(&host), number);
    let host = host.again().await;
    assert_eq!(live(&host), number);
    assert_eq!(host.runtime.broken(), []);
}

#[tokio::test]
async fn a_change_whose_client_leaves_is_made() {
    let host = Host::new().await;
    let mut changes = host.runtime.watch();
    let mut next = async || changes.recv().await.map(|changed| changed.change);
    let prepared = host.runtime.prepare(numbered(1)).await.unwrap();
    leave!(host, host.runtime.publish(prepared, Publish::by(me())));
    assert_eq!(next().await, Ok(Change::Published(1)));
    assert_eq!(host.outcome("counter", "null").await, success("1"));
    host.publish(numbered(2)).await;
    assert_eq!(next().await, Ok(Change::Published(2)));
    let (counter, me) = (name("counter"), me());
    leave!(host, host.runtime.rollback(&counter, 1, &me, None));
    assert_eq!(next().await, Ok(Change::RolledBack(1)));
    assert_eq!(host.outcome("counter", "null").await, success("1"));
    leave!(host, host.runtime.remove(&counter, &me));
    assert_eq!(next().await, Ok(Change::Removed));
    assert!(host.runtime.get(&counter).is_none());
    let again = host.runtime.remove(&counter, &me).await;
    assert!(matches!(again, Err(PublishError::UnknownAgent(_))));
    answers(host, None).await;
}

#[tokio::test]
async fn a_change_that_landed_and_failed_is_what_answers() {
    let host = Host::new().await;
    let counter = name("counter");
    host.publish(numbered(1)).await;
    let prepared = host.runtime.prepare(numbered(2)).await.unwrap();
    host.faulty.land(AGENTS);
    let failed = host.runtime.publish(prepared, Publish::by(me())).await;
    assert!(matches!(failed, Err(PublishError::Commit(_))));
    assert_eq!(host.outcome("counter", "null").await, success("2"));
    host.faulty.land(AGENTS);
    assert!(
        host.runtime
            .rollback(&counter, 1, &me(), None)
            .await
            .is_err()
    );
    assert_eq!(host.outcome("counter", "null").await, success("1"));
    host.faulty.land(AGENTS);
    assert!(host.runtime.remove(&counter, &me()).await.is_err());
    answers(host, None).await;
}

#[tokio::test]
async fn a_change_that_was_not_written_is_none() {
    let host = Host::new().await;
    let counter = name("counter");
    host.publish(numbered(1)).await;
    host.publish(numbered(2)).await;
    let prepared = host.runtime.prepare(numbered(3)).await.unwrap();
    host.faulty.lose(AGENTS);
    assert!(
        host.runtime
            .publish(prepared, Publish::by(me()))
            .await
            .is_err()
    );
    host.faulty.lose(AGENTS);
    assert!(
        host.runtime
            .rollback(&counter, 1, &me(), None)
            .await
            .is_err()
    );
    host.faulty.lose(AGENTS);
    assert!(host.runtime.remove(&counter, &me()).await.is_err());
    answers(host, Some(2)).await;
}

#[tokio::test]
async fn a_removal_whose_outcome_could_not_be_read_ends_with_the_next_attempt() {
    let host = Host::new().await;
    let counter = name("counter");
    host.publish(numbered(1)).await;
    host.faulty.land_unread(AGENTS);
    assert!(host.runtime.remove(&counter, &me()).await.is_err());
    let again = host.runtime.remove(&counter, &me()).await;
    assert!(matches!(again, Err(PublishError::UnknownAgent(_))));
    answers(host, None).await;
}

#[tokio::test]
async fn a_component_that_is_published_anew_outlives_its_removal() {
    let host = Host::new().await;
    let counter = name("counter");
    let digest = host.publish(numbered(1)).await.digest;
    let prepared = host.runtime.prepare(numbered(1)).await.unwrap();
    let mut hold = host.faulty.hold_answer(AGENTS);
    let removing = {
        let (runtime, counter) = (host.runtime.clone(), counter.clone());
        tokio::spawn(async move { runtime.remove(&counter, &me()).await })
    };
    hold.reached().await;
    let publishing = {
        let runtime = host.runtime.clone();
        tokio::spawn(async move { runtime.publish(prepared, Publish::by(me())).await })
    };
    // As far as it comes meanwhile.
    for _ in 0..10 {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    drop(hold);
    removing.await.unwrap().unwrap();
    publishing.await.unwrap().unwrap();
    host.runtime.component(&digest).await.unwrap();
    answers(host, Some(1)).await;
}

#[tokio::test]
async fn a_component_that_is_kept_outlives_the_agents_that_had_it() {
    let host = Host::new().await;
    let counter = name("counter");
    let prepared = host.runtime.prepare(numbered(1)).await.unwrap();
    let digest: Digest = prepared.digest;
    host.runtime
        .keep(&prepared, "a forge", Commit::new())
        .await
        .unwrap();
    for kept in [true, false] {
        host.publish(numbered(1)).await;
        host.runtime.remove(&counter, &me()).await.unwrap();
        assert_eq!(host.runtime.component(&digest).await.is_ok(), kept);
        let mut commit = Commit::new();
        let_go(&mut commit, &digest, "a forge");
        host.services.store.commit(commit).await.unwrap();
    }
}

#[tokio::test]
async fn the_row_of_a_cancelled_invocation_says_so_though_its_question_lands_late() {
    let host = Host::new().await;
    host.publish(asks()).await;
    let mut hold = host.faulty.hold_commit("approvals");
    let running = host.start("asks", "null").await;
    hold.reached().await;
    running.cancel("not wanted");
    // As far as it comes while the question is on its way.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    drop(hold);
    assert!(matches!(
        *running.outcome().await,
        Outcome::Cancelled { .. }
    ));
    let cancelled = Filter {
        state: Some(State::Cancelled),
        agent: None,
    };
    let gate = &host.services.gate;
    while gate
        .approvals(&cancelled, &Page::default())
        .await
        .unwrap()
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    let open = host.faulty.scan(Table("invocations_open"), Scan::default());
    assert_eq!(open.await.unwrap(), []);
    let id = running.id();
    drop(running);
    let host = host.again().await;
    let record = host.runtime.invocation(&id).await.unwrap().unwrap();
    assert!(matches!(record.outcome, Some(Outcome::Cancelled { .. })));
}
