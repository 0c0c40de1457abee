//! Waiting for a person, and a host that dies meanwhile.

use std::sync::Arc;

use nexus_gate::{ApprovalId, Verdict};
use nexus_runtime::{InvocationState, Outcome, Running};
use tempfile::TempDir;

use crate::guests::{NULL, OPEN, agent};
use crate::support::{Host, me, success};

pub(crate) fn asks() -> bytes::Bytes {
    let permission = "[[permission]]\nmemory = { space = \"notes\", access = \"read-write\" }\n";
    let body = format!(
        "(call $open (i32.const 1024) (i32.const 4) (i32.const 1) (i32.const 3000)) {NULL}"
    );
    agent("asks", permission, OPEN, &body)
}

/// Waits until the person is asked, which is when the question is durable.
async fn asked(host: &Host, running: &Running) -> ApprovalId {
    running.changed(InvocationState::Running).await;
    let record = running.record();
    assert_eq!(record.state, InvocationState::Waiting);
    let [approval] = record.approvals[..] else {
        panic!("{record:?}")
    };
    while host
        .services
        .gate
        .approval(approval)
        .await
        .unwrap()
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    approval
}

#[tokio::test]
async fn an_invocation_waits_for_a_person_and_goes_on() {
    let host = Host::new().await;
    host.publish(asks()).await;
    let running = host.start("asks", "null").await;
    let approval = asked(&host, &running).await;
    host.services
        .gate
        .decide(approval, Verdict::Approve, None, &me())
        .await
        .unwrap();
    assert_eq!(*running.outcome().await, success("null"));
    assert!(running.record().approvals.is_empty());
    // It has waited, so it is still known after a restart, answer included.
    let id = running.id();
    drop(running);
    let host = host.again().await;
    let record = host.runtime.invocation(&id).await.unwrap().unwrap();
    assert_eq!(record.state, InvocationState::Succeeded);
    assert_eq!(record.outcome, Some(success("null")));
}

#[test]
fn what_a_dead_host_left_waiting_is_interrupted() {
    let dir = Arc::new(TempDir::new().unwrap());
    let first = tokio::runtime::Runtime::new().unwrap();
    let id = first.block_on(async {
        let host = Host::open(Arc::clone(&dir), |_| {}).await;
        host.publish(asks()).await;
        let running = host.start("asks", "null").await;
        asked(&host, &running).await;
        running.id()
    });
    // Every task ends where it stands.
    drop(first);
    let second = tokio::runtime::Runtime::new().unwrap();
    second.block_on(async {
        let host = Host::open(dir, |_| {}).await;
        let record = host.runtime.invocation(&id).await.unwrap().unwrap();
        assert_eq!(record.state, InvocationState::Failed);
        assert_eq!(record.outcome, Some(Outcome::Interrupted));
        assert!(record.approvals.is_empty());
    });
}
