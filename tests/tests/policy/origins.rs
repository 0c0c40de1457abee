//! What began a call, and what becomes of its questions when nobody is there.

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_proto::v1::invocation::State;
use nexus_proto::v1::{RootOrigin, Verdict};
use nexus_tests::client::reason;
use serde_json::{Value, json};
use tonic::Code;

use crate::desk::{Desk, SHIPPED, last};

fn start(agent: &str, steps: &Value, origin: RootOrigin) -> v1::StartInvocationRequest {
    v1::StartInvocationRequest {
        name: format!("agents/{agent}"),
        input: steps.to_string(),
        root_origin: origin.into(),
        ..v1::StartInvocationRequest::default()
    }
}

/// Through another agent, which calls `trader`.
fn through(steps: &Value) -> Value {
    json!([
        { "call": "bus.peer.find", "name": "trader", "as": "b" },
        { "call": "bus.peer.call", "on": "b", "input": steps, "as": "p" },
        { "call": "bus.pending.wait", "on": "p" },
    ])
}

#[tokio::test]
async fn a_write_that_nobody_can_be_asked_about_ends_as_unattended() -> anyhow::Result<()> {
    let mut desk = Desk::with("").await?;
    for origin in [RootOrigin::Schedule, RootOrigin::Ingest] {
        for (agent, steps) in [
            ("trader", desk.order()),
            ("planner", through(&desk.order())),
        ] {
            let started = start(agent, &steps, origin);
            let started = desk.client.invocations.start_invocation(started).await?;
            let output = desk.client.result(&started.into_inner().name).await?;
            // Of the whole chain: the origin goes along with a call.
            ensure!(
                output.to_string().contains("unattended"),
                "{agent} {origin:?}: {output}"
            );
        }
        // What needs nobody happens.
        let started = start("trader", &desk.price(), origin);
        let started = desk.client.invocations.start_invocation(started).await?;
        let output = desk.client.result(&started.into_inner().name).await?;
        ensure!(last(&output).get("ok").is_some(), "{output}");
    }
    ensure!(
        desk.origin
            .received()
            .iter()
            .all(|request| request.target == "/price")
    );
    let list = v1::ListApprovalsRequest {
        agent: "agents/trader".to_owned(),
        ..v1::ListApprovalsRequest::default()
    };
    let asked = desk
        .client
        .approvals
        .list_approvals(list)
        .await?
        .into_inner();
    let asked = asked
        .approvals
        .iter()
        .filter(|one| one.verb == "POST")
        .count();
    ensure!(asked == 0, "nobody is asked");
    Ok(())
}

#[tokio::test]
async fn where_the_operator_says_so_it_waits_in_the_queue() -> anyhow::Result<()> {
    let mut desk = Desk::with("unattended = \"queue\"").await?;
    let mut approvals = desk.client.watch_approvals().await?;
    let started = start("planner", &through(&desk.order()), RootOrigin::Schedule);
    let started = desk.client.invocations.start_invocation(started).await?;
    let asked = approvals.asked("trader").await?;
    ensure!(asked.root_origin() == RootOrigin::Schedule, "{asked:?}");
    ensure!(asked.chain == ["agents/planner"], "{asked:?}");
    let name = started.into_inner().name;
    let waiting = desk.client.invocation(&name).await?;
    ensure!(waiting.state() == State::Waiting, "{waiting:?}");
    desk.client.decide(&asked.name, Verdict::Approve).await?;
    desk.client.result(&name).await?;
    ensure!(desk.origin.received().len() == 1);
    Ok(())
}

// The origin answers while a command is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_has_its_place_in_policy_and_only_operators_name_one() -> anyhow::Result<()> {
    let mut desk = Desk::with("").await?;
    let nightly = r#"
        @id("nightly") permit (principal == Agent::"trader", action == Action::"external", resource)
        when { context.origin == "schedule" };
    "#;
    desk.set(&format!("{SHIPPED}{nightly}")).await?;
    let steps = desk.order();
    for role in [v1::Role::Caller, v1::Role::Forger] {
        let mut other = desk.host.client("other", role).await?;
        for origin in [RootOrigin::Schedule, RootOrigin::Ingest, RootOrigin::Mcp] {
            let refused = other
                .invocations
                .start_invocation(start("trader", &steps, origin));
            let refused = refused.await.err().context("a refusal")?;
            ensure!(refused.code() == Code::PermissionDenied, "{refused:?}");
            ensure!(reason(&refused) == "ORIGIN_NOT_ALLOWED", "{refused:?}");
        }
        let own = start("trader", &desk.price(), RootOrigin::Interactive);
        other.invocations.start_invocation(own).await?;
    }
    let waiting = desk.client.invoke("trader", &steps).await?;
    ensure!(waiting.state() == State::Waiting, "{waiting:?}");
    let invoked = desk.host.nexus(&[
        "invoke",
        "trader",
        &steps.to_string(),
        "--origin",
        "schedule",
    ])?;
    ensure!(invoked.status.success(), "{invoked:?}");
    let orders = desk.origin.received();
    ensure!(
        orders
            .iter()
            .filter(|request| request.target == "/orders")
            .count()
            == 1
    );
    Ok(())
}
