//! Forges as resources: followed, cancelled and cut short at every stage, and begun once however many
//! ask.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod cancelled;
mod ensured;
mod killed;
mod modelled;
mod refused;
mod reviewed;
mod secrets;
mod shadowed;
mod stage;
mod tried;
mod watched;

use nexus_proto::v1;
use nexus_tests::{Client, guests};
use tonic::Status;

/// Free of every permission, and changes its input.
const SOURCE: &str = "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { Ok(json!({ \"new\": input })) }\n";

/// What the agent is before anything is forged: `echo`, which answers with its input.
fn steady() -> Vec<u8> {
    let manifest = include_str!("../../agents/echo/agent.toml").replace("\"echo\"", "\"steady\"");
    guests::with_manifest("echo", &manifest)
}

fn manifest(name: &str, more: &str) -> String {
    format!(
        "format = 1\nname = \"{name}\"\nversion = \"0.2.0\"\nsummary = \"s\"\ninput = {{}}\n{more}"
    )
}

fn forging(name: &str) -> v1::ForgeAgentRequest {
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: SOURCE.to_owned(),
        manifest: manifest(name, ""),
        ..v1::ForgeAgentRequest::default()
    }
}

/// All that a forge tells from here on.
async fn rest(mut stream: tonic::Streaming<v1::ForgeEvent>) -> Result<Vec<v1::ForgeEvent>, Status> {
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        events.push(event);
    }
    Ok(events)
}

/// What a forge tells after an event.
async fn watch(
    client: &mut Client,
    forge: &str,
    after: u64,
) -> Result<Vec<v1::ForgeEvent>, Status> {
    let request = v1::WatchForgeRequest {
        name: forge.to_owned(),
        after_sequence: after,
    };
    rest(client.forge.watch_forge(request).await?.into_inner()).await
}

async fn get(client: &mut Client, forge: &str) -> Result<v1::Forge, Status> {
    let request = v1::GetForgeRequest {
        name: forge.to_owned(),
    };
    Ok(client.forge.get_forge(request).await?.into_inner())
}

async fn agent(client: &mut Client, name: &str) -> Result<v1::Agent, Status> {
    let request = v1::GetAgentRequest {
        name: format!("agents/{name}"),
        ..v1::GetAgentRequest::default()
    };
    Ok(client.agents.get_agent(request).await?.into_inner())
}
