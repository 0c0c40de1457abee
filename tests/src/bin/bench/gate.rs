//! `gate_check_us`: a read through the gate, its audit append included.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use nexus_effects::http::Request;
use nexus_gate::{Context, EffectClass, InvocationId, Principal, RootOrigin, kind};
use nexus_manifest::{Digest, Manifest, Method};

use crate::figure::{Figure, median};
use crate::{client, parts};

const ROUNDS: usize = 7;
const CHECKS: u32 = 5_000;

const MANIFEST: &str = r#"
format = 1
name = "reader"
version = "0.1.0"
[[permission]]
http = { origin = "https://api.example.com", methods = ["GET"], paths = ["/v3/*"] }
"#;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    client()?.block_on(rounds())
}

async fn rounds() -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let services = parts::services(&directory).await?;
    let manifest = Manifest::parse(MANIFEST)?;
    let context = Arc::new(Context {
        agent: manifest.name.clone(),
        component: Digest::of(b"reader"),
        manifest: Arc::new(manifest),
        principal: Principal::new("operator"),
        invocation: InvocationId::new(),
        root: RootOrigin::Interactive,
        chain: Vec::new(),
        chain_class: EffectClass::Read,
        reviewed: true,
        shadow: false,
        labels: BTreeSet::new(),
    });
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for number in 0..CHECKS {
            let target = format!("/v3/price?ids={number}").parse()?;
            let mut request = Request::new("https://api.example.com".parse()?, Method::Get, target);
            request.header("accept", b"application/json")?;
            let action =
                request.action(Arc::clone(&context), u64::from(number) + 1, BTreeSet::new());
            let permit = services.gate.check::<kind::Http>(action, &()).await?;
            permit.read(&request.payload()).await?;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(CHECKS));
    }
    Ok(vec![Figure::new(
        "gate_check_us",
        median(times),
        "us",
        "<= 50",
    )])
}
