//! `hog_p99_ratio`: healthy calls beside 16 agents in endless loops, over the same without them.
//!
//! 16 connections with 16 healthy calls in flight each, two server threads. The client shares the
//! two cores with the server in both measurements.

use std::time::Duration;

use nexus_proto::v1;
use nexus_tests::{Host, guests};
use serde_json::json;

use crate::figure::{Figure, p99};
use crate::{client, load};

const HOGS: usize = 16;
const TIME: Duration = Duration::from_secs(4);

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    client()?.block_on(both())
}

async fn both() -> anyhow::Result<Vec<Figure>> {
    let host = Host::builder()
        .config("[server]\ncalls_per_second = 1000000\n[runtime]\nworkers = 2\ncpu_ms = 120000\nwall_ms = 120000\nconcurrency_per_agent = 1000")
        .start()?;
    let mut operator = host.operator().await?;
    operator.deploy(&guests::component("echo")).await?;
    let manifest = std::fs::read_to_string(guests::root().join("tests/agents/hostile/agent.toml"))?;
    let mut hogs = Vec::new();
    for number in 0..HOGS {
        let name = format!("hog-{number}");
        let manifest = manifest.replace("name = \"hostile\"", &format!("name = \"{name}\""));
        operator
            .deploy(&guests::with_manifest("hostile", &manifest))
            .await?;
        hogs.push(name);
    }
    let clients = load::connect(&host.endpoint, Some(host.token()), load::CONNECTIONS).await?;
    load::run(&clients, "echo", Duration::from_millis(500)).await;
    let quiet = load::run(&clients, "echo", TIME).await;
    for hog in &hogs {
        let request = v1::StartInvocationRequest {
            name: format!("agents/{hog}"),
            input: json!({ "do": "cpu-loop" }).to_string(),
            ..v1::StartInvocationRequest::default()
        };
        operator.invocations.start_invocation(request).await?;
    }
    let beside = load::run(&clients, "echo", TIME).await;
    let status = operator
        .system
        .get_status(v1::GetStatusRequest {})
        .await?
        .into_inner();
    anyhow::ensure!(
        status.running_invocations >= HOGS as u64,
        "only {} of {HOGS} loops still run",
        status.running_invocations
    );
    anyhow::ensure!(quiet.failed + beside.failed == 0, "healthy calls failed");
    let (quiet, beside) = (p99(quiet.times), p99(beside.times));
    Ok(vec![
        Figure::new("hog_p99_ratio", beside / quiet, "ratio", "<= 10"),
        Figure::new("quiet_p99_ms", quiet, "ms", ""),
        Figure::new("hog_p99_ms", beside, "ms", ""),
    ])
}
