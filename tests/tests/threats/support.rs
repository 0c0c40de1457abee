//! What the tests of this file share.

use nexus_proto::v1::invocation::Outcome;
use nexus_proto::v1::{GetStatusRequest, Invocation, exhausted};
use nexus_tests::{Client, Host, guests};
use serde_json::json;

/// Why an invocation was ended, if a limit ended it.
pub(crate) fn limit(invocation: &Invocation) -> Option<exhausted::Limit> {
    match &invocation.outcome {
        Some(Outcome::Exhausted(exhausted)) => Some(exhausted.limit()),
        _ => None,
    }
}

/// How an invocation ended, in a word that tests compare: a limit, or the kind of the outcome.
pub(crate) fn ending(invocation: &Invocation) -> String {
    match &invocation.outcome {
        Some(Outcome::Success(_)) => "success".to_owned(),
        Some(Outcome::Failure(failure)) => format!("failure {}", failure.code),
        Some(Outcome::Refusal(refusal)) => format!("refusal {:?}", refusal.kind()),
        Some(Outcome::Exhausted(exhausted)) => format!("exhausted {:?}", exhausted.limit()),
        Some(Outcome::Trap(_)) => "trap".to_owned(),
        Some(Outcome::HostFault(_)) => "host fault".to_owned(),
        Some(Outcome::Cancellation(_)) => "cancelled".to_owned(),
        Some(Outcome::Interruption(_)) => "interrupted".to_owned(),
        None => format!("{:?}", invocation.state()),
    }
}

/// A host with the agent `echo`, and the operator's client.
pub(crate) async fn host(config: &str) -> anyhow::Result<(Host, Client)> {
    let host = Host::builder().config(config).start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("echo")).await?;
    Ok((host, client))
}

/// The process that was started is still there and answers others.
pub(crate) async fn is_well(host: &mut Host, client: &mut Client) -> anyhow::Result<()> {
    anyhow::ensure!(host.is_running(), "the host has ended");
    let input = json!({ "hello": ["wor", 1, "d"] });
    anyhow::ensure!(client.output("echo", &input).await? == input);
    client.system.get_status(GetStatusRequest {}).await?;
    Ok(())
}
