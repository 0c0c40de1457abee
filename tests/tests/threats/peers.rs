//! T17: a peer is called as the agent that it was when a person, or a manifest, trusted it.

use anyhow::ensure;
use nexus_proto::v1;
use nexus_proto::v1::invocation::State as Life;
use nexus_tests::desk::last;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};

/// Steps that call `clerk`, which then does nothing.
fn calls() -> Value {
    json!([
        { "call": "bus.peer.find", "name": "clerk", "as": "c" },
        { "call": "bus.peer.call", "on": "c", "input": [], "as": "r" },
        { "call": "bus.pending.wait", "on": "r" },
    ])
}

/// `clerk` with these permissions beyond those that lead nowhere.
async fn clerk(client: &mut Client, permissions: &[&str]) -> anyhow::Result<()> {
    client
        .deploy(&probe::component("clerk", permissions))
        .await?;
    Ok(())
}

/// A call by this agent goes through unasked.
async fn passes(client: &mut Client, caller: &str) -> anyhow::Result<()> {
    let output = client.output(caller, &calls()).await?;
    ensure!(last(&output)["ok"]["output"] == "[]", "{output}");
    Ok(())
}

/// A call by this agent waits for a person.
async fn asks(client: &mut Client, caller: &str) -> anyhow::Result<(v1::Invocation, v1::Approval)> {
    let waiting = client.invoke(caller, &calls()).await?;
    ensure!(waiting.state() == Life::Waiting, "{waiting:?}");
    let asked = client.approval(&waiting.approvals[0]).await?;
    let rule = "first-use-needs-a-person";
    ensure!(asked.policies.iter().any(|id| id == rule), "{asked:?}");
    Ok((waiting, asked))
}

async fn runs_of_clerk(client: &mut Client) -> anyhow::Result<usize> {
    let list = v1::ListInvocationsRequest {
        agent: "agents/clerk".to_owned(),
        ..v1::ListInvocationsRequest::default()
    };
    let listed = client.invocations.list_invocations(list).await?;
    Ok(listed.into_inner().invocations.len())
}

#[tokio::test]
async fn t17_a_peer_that_was_exchanged_is_asked_about_before_it_is_called() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let by_tag = [r#"peer = { tag = "test" }"#];
    let by_name = [r#"peer = { agent = "clerk" }"#];
    clerk(&mut client, &[]).await?;
    client.deploy(&probe::component("boss", &by_tag)).await?;
    client.deploy(&probe::component("chief", &by_name)).await?;

    // By a tag it is met with a person, by its name it is known.
    let (waiting, asked) = asks(&mut client, "boss").await?;
    ensure!(
        asked.rendering.contains("callee.owner: \"operator\""),
        "{}",
        asked.rendering
    );
    client.decide(&asked.name, v1::Verdict::Approve).await?;
    let output = client.result(&waiting.name).await?;
    ensure!(last(&output)["ok"]["output"] == "[]", "{output}");
    passes(&mut client, "boss").await?;
    passes(&mut client, "chief").await?;

    let known = v1::GetAgentRequest {
        name: "agents/clerk".to_owned(),
        ..v1::GetAgentRequest::default()
    };
    let known = client.agents.get_agent(known).await?.into_inner();
    let runs = runs_of_clerk(&mut client).await?;
    clerk(
        &mut client,
        &[r#"memory = { space = "books", access = "read-write" }"#],
    )
    .await?;
    for caller in ["boss", "chief"] {
        let (waiting, asked) = asks(&mut client, caller).await?;
        client.decide(&asked.name, v1::Verdict::Deny).await?;
        let output = client.result(&waiting.name).await?;
        ensure!(last(&output)["error"] == "denied", "{output}");
    }
    ensure!(runs_of_clerk(&mut client).await? == runs);
    // Back to what they knew, and there is nothing to ask.
    let back = v1::RollbackAgentRequest {
        name: "agents/clerk".to_owned(),
        generation: 1,
        // It may do what the live one may not.
        permissions_digest: known.permissions_digest,
        ..v1::RollbackAgentRequest::default()
    };
    client.agents.rollback_agent(back).await?;
    for caller in ["boss", "chief"] {
        passes(&mut client, caller).await?;
    }
    Ok(())
}

#[tokio::test]
async fn t17_a_peer_of_another_owner_is_another_peer() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    clerk(&mut client, &[]).await?;
    let by_name = [r#"peer = { agent = "clerk" }"#];
    client.deploy(&probe::component("chief", &by_name)).await?;
    passes(&mut client, "chief").await?;
    let mut mallory = host.client("mallory", v1::Role::Forger).await?;
    let less = probe::bare_manifest(
        "clerk",
        &[
            r#"http = { origin = "https://nowhere.example.com", methods = ["GET"], paths = ["/*"] }"#,
            r#"secret = { name = "nothing", audience = ["https://nowhere.example.com"] }"#,
            r#"memory = { space = "nothing", access = "read" }"#,
            r#"peer = { agent = "nobody" }"#,
        ],
    )
    .replace("0.1.0", "0.2.0");
    let component = nexus_tests::guests::with_manifest("probe", &less);
    let review = mallory.upload(&component, Default::default()).await?;
    let accept = v1::AcceptAgentRequest {
        name: "agents/clerk".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    client.agents.accept_agent(accept).await?;
    let (_, asked) = asks(&mut client, "chief").await?;
    ensure!(
        asked.rendering.contains("callee.owner: \"mallory\""),
        "{}",
        asked.rendering
    );
    Ok(())
}

#[tokio::test]
async fn t17_an_approved_call_reaches_the_very_component_that_was_shown() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    clerk(&mut client, &[]).await?;
    let by_tag = [r#"peer = { tag = "test" }"#];
    client.deploy(&probe::component("boss", &by_tag)).await?;
    let (waiting, asked) = asks(&mut client, "boss").await?;
    let mut approvals = client.watch_approvals().await?;
    // It changes while the person reads.
    clerk(
        &mut client,
        &[r#"memory = { space = "books", access = "read-write" }"#],
    )
    .await?;
    client.decide(&asked.name, v1::Verdict::Approve).await?;
    let again = approvals
        .find(|found| {
            found.agent == "agents/boss"
                && found.name != asked.name
                && found.state() == v1::approval::State::Pending
        })
        .await?;
    ensure!(runs_of_clerk(&mut client).await? == 0);
    ensure!(
        again.rendering.contains("memory books (read-write)"),
        "{}",
        again.rendering
    );
    client.decide(&again.name, v1::Verdict::Deny).await?;
    let output = client.result(&waiting.name).await?;
    ensure!(last(&output)["error"] == "denied", "{output}");
    ensure!(runs_of_clerk(&mut client).await? == 0);
    Ok(())
}
