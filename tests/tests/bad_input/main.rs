//! What is wrong gets an error that says what to do about it, and costs nothing that was there: after
//! each, the agent that was deployed before still answers.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod calls;
mod disk;
mod messages;
mod numbers;
mod start;
mod uploads;

use nexus_tests::{Client, Host, guests};
use serde_json::json;

/// A host with the agent `echo`, and the operator's client.
async fn host() -> anyhow::Result<(Host, Client)> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("echo")).await?;
    Ok((host, client))
}

/// The agent that was there before answers as before.
async fn still_answers(client: &mut Client) -> anyhow::Result<()> {
    let input = json!({ "still": "there" });
    anyhow::ensure!(client.output("echo", &input).await? == input);
    Ok(())
}
