//! `forge_template_ms` and `forge_over_rustc_ratio`: from a request to the first answer.
//!
//! Ten different requests for the template `http-json`, libraries warm; beside each, bare rustc on
//! the same source with the same arguments and no sandbox.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use nexus_forge::build::{Builder, Options, arguments};
use nexus_forge::toolchain::Warm;
use nexus_proto::v1;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host};
use serde_json::json;

use crate::client;
use crate::figure::{Figure, median};

const REQUESTS: usize = 10;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    client()?.block_on(requests())
}

async fn requests() -> anyhow::Result<Vec<Figure>> {
    let origin = Origin::json(json!({ "data": { "price": "3150.25" } })).await?;
    let host = Host::builder()
        // With libraries of its own, so that the first forge ever is measured too.
        .config(&format!(
            "[egress]\nprivate_origins = [\"{}\"]\n[forge]\nallow_unsandboxed = false",
            origin.url()
        ))
        .start()?;
    let mut operator = host.operator().await?;
    let begin = Instant::now();
    forge(&mut operator, "warm-up", &origin, 0).await?;
    let cold = begin.elapsed().as_secs_f64();
    let directory = tempfile::tempdir()?;
    let libraries = Some(host.data.join("forge/libraries"));
    let builder = Builder::open(Options {
        libraries,
        ..Options::new(directory.path())
    })?;
    let warm = builder.warm().await?;
    let (mut forged, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=REQUESTS {
        let name = format!("tracker-{number}");
        let begin = Instant::now();
        let agent = forge(&mut operator, &name, &origin, number).await?;
        operator.output(&name, &json!({})).await?;
        let took = begin.elapsed().as_secs_f64() * 1e3;
        let lineage = full(&mut operator, &agent).await?;
        let alone = rustc(&warm, &lineage)?;
        ratios.push(took / alone);
        forged.push(took);
        bare.push(alone);
    }
    Ok(vec![
        Figure::new("forge_template_ms", median(forged), "ms", "<= 1000"),
        Figure::new("forge_over_rustc_ratio", median(ratios), "ratio", "<= 2.5"),
        Figure::new("rustc_ms", median(bare), "ms", ""),
        Figure::new("forge_first_ever_s", cold, "s", ""),
    ])
}

async fn forge(
    operator: &mut Client,
    name: &str,
    origin: &Origin,
    number: usize,
) -> anyhow::Result<v1::Agent> {
    let set = [
        ("origin", origin.url()),
        ("path", format!("/price/{number}")),
        ("fields", json!({ "usd": "/data/price" }).to_string()),
    ];
    let request = v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        words: format!("fetch the price number {number} and keep the dollars"),
        mode: v1::ForgeMode::Template.into(),
        template: "http-json".to_owned(),
        set: set
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        ..v1::ForgeAgentRequest::default()
    };
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

async fn full(operator: &mut Client, agent: &v1::Agent) -> anyhow::Result<v1::Lineage> {
    let request = v1::GetAgentRequest {
        name: agent.name.clone(),
        view: v1::AgentView::Full.into(),
    };
    let agent = operator.agents.get_agent(request).await?.into_inner();
    agent.lineage.context("a forged agent has a lineage")
}

/// The time of rustc alone, in milliseconds.
fn rustc(warm: &Warm, lineage: &v1::Lineage) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    project(directory.path(), lineage)?;
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
