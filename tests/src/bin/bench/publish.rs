//! `publish_cached_ms` and `publish_bytes_ms`: from an upload to the first answer.
//!
//! A component of 250 KB, uploaded and called over gRPC, registry and audit commits included; once
//! with its machine code in the artifact cache, once compiled anew.

use std::time::Instant;

use nexus_tests::{Client, Host, guests};
use serde_json::json;

use crate::client;
use crate::figure::{Figure, median};

const ROUNDS: usize = 15;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    client()?.block_on(both())
}

async fn both() -> anyhow::Result<Vec<Figure>> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let component = guests::component("size_250k");
    once(&mut operator, &component).await?;
    let mut cached = Vec::new();
    for _ in 0..ROUNDS {
        cached.push(once(&mut operator, &component).await?);
    }
    let artifacts = host.data.join("artifacts");
    let mut compiled = Vec::new();
    for _ in 0..ROUNDS {
        for file in std::fs::read_dir(&artifacts)? {
            let file = file?.path();
            // The key that authenticates artifacts stays.
            if std::fs::metadata(&file)?.len() > 4096 {
                std::fs::remove_file(file)?;
            }
        }
        compiled.push(once(&mut operator, &component).await?);
    }
    Ok(vec![
        Figure::new("publish_cached_ms", median(cached), "ms", "<= 5"),
        Figure::new("publish_bytes_ms", median(compiled), "ms", "<= 250"),
        Figure::new(
            "publish_component_kb",
            component.len() as f64 / 1000.0,
            "KB",
            "",
        ),
    ])
}

async fn once(operator: &mut Client, component: &[u8]) -> anyhow::Result<f64> {
    let begin = Instant::now();
    operator.deploy(component).await?;
    operator
        .output("size-250k", &json!({ "owner": "anna", "dry": true }))
        .await?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
