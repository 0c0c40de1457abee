//! The host's own doors: who gets in, by what connection, how often and for how long; requests that
//! may be repeated, agents that belong to somebody, and what accepting permissions opens.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod load;
mod named;
mod owners;
mod reviews;
mod shares;
mod tls;
mod tokens;
mod trigger;

use nexus_proto::v1;
use nexus_tests::{Client, guests};
use tonic::Status;

/// The guest `echo`, which asks for nothing, under a name and a version.
fn echo(name: &str, version: &str) -> Vec<u8> {
    let manifest = include_str!("../../agents/echo/agent.toml")
        .replace("\"echo\"", &format!("{name:?}"))
        .replace("\"0.1.0\"", &format!("{version:?}"));
    guests::with_manifest("echo", &manifest)
}

/// A source that answers with its input.
const SOURCE: &str = "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { Ok(input) }\n";

/// To forge an agent that asks for nothing.
fn forging(name: &str, request_id: &str) -> v1::ForgeAgentRequest {
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: SOURCE.to_owned(),
        manifest: format!(
            "format = 1\nname = \"{name}\"\nversion = \"0.1.0\"\nsummary = \"s\"\ninput = {{}}\n"
        ),
        request_id: request_id.to_owned(),
        ..v1::ForgeAgentRequest::default()
    }
}

/// All that a forge tells.
async fn forge(
    client: &mut Client,
    request: v1::ForgeAgentRequest,
) -> Result<Vec<v1::ForgeEvent>, Status> {
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        events.push(event);
    }
    Ok(events)
}

/// An agent as it is.
async fn agent(client: &mut Client, name: &str) -> Result<v1::Agent, Status> {
    let request = v1::GetAgentRequest {
        name: format!("agents/{name}"),
        ..v1::GetAgentRequest::default()
    };
    Ok(client.agents.get_agent(request).await?.into_inner())
}

/// How many records of a kind the trail has of an agent.
async fn recorded(client: &mut Client, agent: &str, kind: &str) -> Result<usize, Status> {
    let request = v1::ListEventsRequest {
        page_size: 1_000,
        agent: format!("agents/{agent}"),
        ..v1::ListEventsRequest::default()
    };
    let events = client.audit.list_events(request).await?.into_inner().events;
    Ok(events.iter().filter(|event| event.kind == kind).count())
}
