//! Publishing, swapping, going back, removing, and starting again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nexus_gate::Principal;
use nexus_runtime::{Change, InvokeError, Outcome, Publish, PublishError};

use crate::guests::{ECHO, NULL, agent};
use crate::support::{Host, call, me, name, success};

/// Generations of one agent that answer with different numbers.
fn numbered(number: u32) -> bytes::Bytes {
    let body = format!(
        "(i32.store8 (i32.const 2048) (i32.const {})) (call $ok (i32.const 2048) (i32.const 1))",
        48 + number
    );
    agent("counter", "", "", &body)
}

#[tokio::test]
async fn a_call_begun_after_a_publication_gets_the_new_generation() {
    let host = Host::new().await;
    let mut changes = host.runtime.watch();
    for number in 1..=7 {
        let generation = host.publish(numbered(number)).await;
        assert_eq!(generation.number, u64::from(number));
        assert_eq!(
            host.outcome("counter", "null").await,
            success(&number.to_string())
        );
        assert_eq!(
            changes.recv().await.unwrap().change,
            Change::Published(u64::from(number))
        );
    }
    let kept = host.runtime.generations(&name("counter")).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|info| info.number).collect();
    assert_eq!(kept, [7, 6, 5, 4, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_no_call_and_never_go_back() {
    let host = Host::new().await;
    let prepared: Vec<_> =
        futures::future::join_all((1..=2).map(|n| host.runtime.prepare(numbered(n))))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
    host.runtime
        .publish(prepared[0].clone(), Publish::by(me()))
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (runtime, stop) = (host.runtime.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                let before = runtime.get(&name("counter")).unwrap().number;
                let running = runtime.invoke(call("counter", "null")).await.unwrap();
                assert!(running.record().generation >= before);
                assert!(matches!(*running.outcome().await, Outcome::Success(_)));
                calls += 1;
            }
            calls
        })
    };
    for swap in 0..100 {
        host.runtime
            .publish(prepared[swap % 2].clone(), Publish::by(me()))
            .await
            .unwrap();
        let expected = if swap % 2 == 0 { "1" } else { "2" };
        assert_eq!(host.outcome("counter", "null").await, success(expected));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
}

#[tokio::test]
async fn an_earlier_generation_answers_again() {
    let host = Host::new().await;
    host.publish(numbered(1)).await;
    host.publish(numbered(2)).await;
    host.runtime
        .rollback(&name("counter"), 1, &me(), None)
        .await
        .unwrap();
    assert_eq!(host.outcome("counter", "null").await, success("1"));
    assert_eq!(host.publish(numbered(3)).await.number, 3);
    let gone = host
        .runtime
        .rollback(&name("counter"), 9, &me(), None)
        .await;
    assert!(matches!(
        gone,
        Err(PublishError::UnknownGeneration { number: 9, .. })
    ));
}

#[tokio::test]
async fn an_agent_belongs_to_its_owner() {
    let host = Host::new().await;
    host.publish(numbered(1)).await;
    let prepared = host.runtime.prepare(numbered(2)).await.unwrap();
    let other = Publish::by(Principal::new("other"));
    let refused = host.runtime.publish(prepared.clone(), other.clone()).await;
    assert!(matches!(refused, Err(PublishError::OwnedByAnother { owner, .. }) if owner == me()));
    assert_eq!(host.outcome("counter", "null").await, success("1"));
    let agreed = Publish {
        take_over: true,
        ..other
    };
    assert_eq!(
        host.runtime.publish(prepared, agreed).await.unwrap().number,
        2
    );
}

#[tokio::test]
async fn a_removed_agent_is_gone_after_a_restart_too() {
    let host = Host::new().await;
    host.publish(numbered(1)).await;
    host.publish(agent("echo", "", "", ECHO)).await;
    host.runtime.remove(&name("counter"), &me()).await.unwrap();
    let call = host.runtime.invoke(call("counter", "null")).await;
    assert!(matches!(call, Err(InvokeError::UnknownAgent(_))));
    let host = host.again().await;
    let names: Vec<_> = host
        .runtime
        .list()
        .iter()
        .map(|g| g.agent().to_string())
        .collect();
    assert_eq!(names, ["echo"]);
    assert_eq!(host.outcome("echo", "5").await, success("5"));
}

#[tokio::test]
async fn agents_are_there_after_a_restart_even_if_their_artifact_was_tampered_with() {
    let host = Host::new().await;
    host.publish(numbered(1)).await;
    let artifacts = host.dir.path().join("artifacts");
    let dir = host.close().await;
    let mut flipped = 0;
    for entry in std::fs::read_dir(&artifacts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "art") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let host = Host::open(dir, |_| {}).await;
    assert!(host.runtime.broken().is_empty());
    assert_eq!(host.outcome("counter", "null").await, success("1"));
    host.publish(agent("other", "", "", NULL)).await;
}

#[tokio::test]
async fn a_request_id_finds_the_same_invocation_again() {
    let host = Host::new().await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let mut once = call("echo", "1");
    once.request_id = Some("order-7".to_owned());
    let first = host.runtime.invoke(once.clone()).await.unwrap();
    let answer = first.outcome().await;
    let again = host.runtime.invoke(once.clone()).await.unwrap();
    assert_eq!(
        (again.id(), again.outcome().await),
        (first.id(), answer.clone())
    );
    // Anything else under that name is a mistake of the caller, and runs nothing.
    let mut other = once.clone();
    other.input = "2".to_owned();
    let refused = host.runtime.invoke(other).await;
    assert!(
        matches!(&refused, Err(InvokeError::RequestReused(id)) if id == "order-7"),
        "{refused:?}"
    );
    let id = first.id();
    drop((first, again));
    let host = host.again().await;
    let later = host.runtime.invoke(once).await.unwrap();
    assert_eq!((later.id(), later.outcome().await), (id, answer));

    // What has ended is forgotten once it is old, and not before.
    let begin = SystemTime::UNIX_EPOCH;
    assert_eq!(host.runtime.forget_invocations(begin).await.unwrap(), 0);
    assert!(host.runtime.invocation(&id).await.unwrap().is_some());
    let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    assert_eq!(host.runtime.forget_invocations(tomorrow).await.unwrap(), 1);
    assert!(host.runtime.invocation(&id).await.unwrap().is_none());
}
