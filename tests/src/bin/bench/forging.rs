//! Forging over the wire, and bare rustc on the same source to hold it against.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use nexus_forge::build::arguments;
use nexus_forge::toolchain::Warm;
use nexus_proto::v1;
use nexus_tests::Client;
use nexus_tests::origin::Origin;
use serde_json::json;

/// A price and nothing more, as most of these agents read it.
pub(crate) async fn market() -> anyhow::Result<Origin> {
    Origin::json(json!({ "data": { "price": "3150.25" }, "price": 3150.25 })).await
}

/// Forges to the live agent.
pub(crate) async fn forge(
    operator: &mut Client,
    request: v1::ForgeAgentRequest,
) -> anyhow::Result<v1::Agent> {
    let mut events = operator.forge.forge_agent(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        if let Some(v1::forge_event::Detail::Published(agent)) = event.detail {
            return Ok(agent);
        }
        last = Some(event);
    }
    anyhow::bail!("the forge ended without an agent: {last:?}")
}

/// A request for the template `http-json`; no two are the same.
pub(crate) fn template(name: &str, origin: &Origin, number: usize) -> v1::ForgeAgentRequest {
    let set = [
        ("origin", origin.url()),
        ("path", format!("/price/{number}")),
        ("fields", json!({ "usd": "/data/price" }).to_string()),
    ];
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        words: format!("fetch the price number {number} and keep the dollars"),
        mode: v1::ForgeMode::Template.into(),
        template: "http-json".to_owned(),
        set: set
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        ..v1::ForgeAgentRequest::default()
    }
}

/// An agent of 60 lines with one example; no two are the same.
pub(crate) fn source(name: &str, origin: &Origin, number: usize) -> v1::ForgeAgentRequest {
    let at = |text: &str| {
        text.replace("https://prices.example.com", &origin.url())
            .replace("\"tracker\"", &format!("{name:?}"))
            .replace("EDITION: u32 = 0", &format!("EDITION: u32 = {number}"))
    };
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: at(include_str!("tracker/lib.rs")),
        manifest: at(include_str!("tracker/agent.toml")),
        examples: vec![v1::ForgeExample {
            input: json!({ "limits": { "ETH": 3000 } }).to_string(),
            output: json!({ "edition": number, "above": 1 }).to_string(),
            responses: vec![v1::RecordedResponse {
                method: "GET".to_owned(),
                url: format!("{}/price?symbol=ETH", origin.url()),
                body: json!({ "price": 3150.25 }).to_string(),
                ..v1::RecordedResponse::default()
            }],
            ..v1::ForgeExample::default()
        }],
        ..v1::ForgeAgentRequest::default()
    }
}

/// What the agent of [`source`] is called with. It reads nothing: at the first read of an origin that
/// nobody has reviewed, policy has a person look. The example has it read.
pub(crate) fn limits() -> serde_json::Value {
    json!({ "limits": {} })
}

/// The time of rustc alone on a forged agent's source, in milliseconds: same arguments, no sandbox.
pub(crate) async fn rustc(
    operator: &mut Client,
    warm: &Warm,
    agent: &v1::Agent,
) -> anyhow::Result<f64> {
    let request = v1::GetAgentRequest {
        name: agent.name.clone(),
        view: v1::AgentView::Full.into(),
    };
    let agent = operator.agents.get_agent(request).await?.into_inner();
    let lineage = agent.lineage.context("a forged agent has a lineage")?;
    let directory = tempfile::tempdir()?;
    project(directory.path(), &lineage)?;
    let begin = Instant::now();
    let status = Command::new(warm.toolchain.rustc())
        .args(arguments(warm, directory.path()))
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    anyhow::ensure!(
        status.success(),
        "rustc alone does not compile what the forge compiled"
    );
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

fn project(directory: &Path, lineage: &v1::Lineage) -> anyhow::Result<()> {
    std::fs::create_dir(directory.join("src"))?;
    std::fs::create_dir(directory.join("out"))?;
    std::fs::write(directory.join("src/lib.rs"), &lineage.source)?;
    std::fs::write(directory.join("agent.toml"), &lineage.manifest)?;
    Ok(())
}
