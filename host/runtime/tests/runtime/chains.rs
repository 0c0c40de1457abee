//! Agents that call agents.

use nexus_runtime::{Record, Running, Wanted};

use crate::guests::{LOG, NULL, agent, log};
use crate::support::Host;

fn calls(name: &str, peer: &str) -> bytes::Bytes {
    let config = format!("[config]\npeer = \"{peer}\"\n");
    agent(name, &config, LOG, &format!("{} {NULL}", log(1053, 3)))
}

async fn all(host: &Host, size: usize) -> Vec<Record> {
    let listed = host
        .runtime
        .invocations(&Wanted::default(), None, size)
        .await;
    listed.unwrap().invocations
}

async fn said(running: &Running) -> Vec<String> {
    running.outcome().await;
    running.log().into_iter().map(|line| line.message).collect()
}

#[tokio::test]
async fn a_callee_knows_its_callers_and_a_circle_is_refused() {
    let host = Host::new().await;
    host.publish(calls("first", "second")).await;
    host.publish(calls("second", "first")).await;
    let first = host.start("first", "null").await;
    assert_eq!(said(&first).await, ["success"]);
    let all = all(&host, 10).await;
    let second = all
        .iter()
        .find(|record| record.agent.as_str() == "second")
        .unwrap();
    assert_eq!(
        second
            .chain
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
        ["first"]
    );
    let second = host.runtime.running_invocation(&second.id).unwrap();
    assert!(said(&second).await[0].contains("circle"));
}

#[tokio::test]
async fn a_chain_is_at_most_eight_agents_long() {
    let host = Host::new().await;
    for number in 1..=9 {
        host.publish(calls(
            &format!("agent-{number}"),
            &format!("agent-{}", number + 1),
        ))
        .await;
    }
    said(&host.start("agent-1", "null").await).await;
    let all = all(&host, 20).await;
    assert_eq!(all.len(), 8);
    let last = all
        .iter()
        .find(|record| record.agent.as_str() == "agent-8")
        .unwrap();
    let last = host.runtime.running_invocation(&last.id).unwrap();
    assert!(said(&last).await[0].contains("8 agents long"));
}

#[tokio::test]
async fn one_invocation_calls_at_most_thirty_two_times() {
    let host = Host::new().await;
    host.publish(agent("peer", "", "", NULL)).await;
    let body = format!(
        "(local $n i32)
         (loop $again {} (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $n) (i32.const 33)))) {NULL}",
        log(1053, 3)
    );
    host.publish(agent("caller", "[config]\npeer = \"peer\"\n", LOG, &body))
        .await;
    let said = said(&host.start("caller", "null").await).await;
    assert_eq!(said.iter().filter(|line| *line == "success").count(), 32);
    assert!(said[32].contains("32 times"));
}

#[tokio::test]
async fn a_callee_ends_with_its_caller() {
    let host = Host::new().await;
    host.publish(agent("waits", "", LOG, &format!("{} {NULL}", log(1057, 4))))
        .await;
    host.publish(calls("caller", "waits")).await;
    let caller = host.start("caller", "null").await;
    let callee = loop {
        let all = all(&host, 10).await;
        if let Some(callee) = all.iter().find(|record| record.agent.as_str() == "waits") {
            break host.runtime.running_invocation(&callee.id).unwrap();
        }
        tokio::task::yield_now().await;
    };
    caller.cancel("enough");
    assert_eq!(callee.outcome().await.as_str(), "cancelled");
}
