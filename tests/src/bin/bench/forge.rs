//! From a request to the first answer.
//!
//! `forge_cold_s`: on a machine that has forged nothing yet, from the start of the host on. Then, with
//! libraries warm, ten different requests each: `forge_source_ms` for an agent of 60 lines that is
//! tried with an example, and `forge_template_ms` for the template `http-json`, compiled though it is
//! prebuilt. Beside each, bare rustc on the same source with the same arguments and no sandbox.
//! `forge_nocompiler_ms`: twenty requests for that template where no compiler is in reach.

use std::time::Instant;

use nexus_forge::build::{Builder, Options};
use nexus_forge::toolchain::Warm;
use nexus_proto::v1;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host};
use serde_json::{Value, json};

use crate::client;
use crate::figure::{Figure, median};
use crate::forging::{self, limits, market};

const REQUESTS: usize = 10;
const PREBUILT: usize = 20;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let mut figures = client()?.block_on(compiled())?;
    figures.extend(client()?.block_on(prebuilt())?);
    Ok(figures)
}

async fn compiled() -> anyhow::Result<Vec<Figure>> {
    let origin = market().await?;
    let begin = Instant::now();
    // With libraries of its own, so that the first forge ever is measured.
    let host = host(&origin).start()?;
    let mut operator = host.operator().await?;
    forging::forge(&mut operator, forging::source("first", &origin, 0)).await?;
    operator.output("first", &limits()).await?;
    let cold = begin.elapsed().as_secs_f64();

    let directory = tempfile::tempdir()?;
    let libraries = Some(host.data.join("forge/libraries"));
    let builder = Builder::open(Options {
        libraries,
        ..Options::new(directory.path())
    })?;
    let warm = builder.warm().await?;
    let (mut source, mut template) = (Way::default(), Way::default());
    for number in 1..=REQUESTS {
        let name = format!("source-{number}");
        let request = forging::source(&name, &origin, number);
        source
            .forge(&mut operator, &warm, request, &limits())
            .await?;
        let name = format!("template-{number}");
        let request = v1::ForgeAgentRequest {
            builder: v1::ForgeBuilder::Local.into(),
            ..forging::template(&name, &origin, number)
        };
        template
            .forge(&mut operator, &warm, request, &json!({}))
            .await?;
    }
    Ok(vec![
        Figure::new("forge_cold_s", cold, "s", "<= 60"),
        Figure::new("forge_source_ms", median(source.took), "ms", "<= 800"),
        Figure::new(
            "forge_source_over_rustc_ratio",
            median(source.ratios),
            "ratio",
            "<= 2",
        ),
        Figure::new("rustc_source_ms", median(source.bare), "ms", ""),
        Figure::new("forge_template_ms", median(template.took), "ms", "<= 1000"),
        Figure::new(
            "forge_over_rustc_ratio",
            median(template.ratios),
            "ratio",
            "<= 2.5",
        ),
        Figure::new("rustc_ms", median(template.bare), "ms", ""),
    ])
}

/// What one way of forging took, and rustc beside it.
#[derive(Default)]
struct Way {
    took: Vec<f64>,
    bare: Vec<f64>,
    ratios: Vec<f64>,
}

impl Way {
    async fn forge(
        &mut self,
        operator: &mut Client,
        warm: &Warm,
        request: v1::ForgeAgentRequest,
        input: &Value,
    ) -> anyhow::Result<()> {
        let name = request.agent_id.clone();
        let begin = Instant::now();
        let agent = forging::forge(operator, request).await?;
        operator.output(&name, input).await?;
        let took = begin.elapsed().as_secs_f64() * 1e3;
        let bare = forging::rustc(operator, warm, &agent).await?;
        self.took.push(took);
        self.bare.push(bare);
        self.ratios.push(took / bare);
        Ok(())
    }
}

async fn prebuilt() -> anyhow::Result<Vec<Figure>> {
    let origin = market().await?;
    let begin = Instant::now();
    let host = host(&origin)
        .through(&[
            "env",
            "PATH=/nonexistent",
            "HOME=/nonexistent",
            "CARGO_HOME=/nonexistent",
        ])
        .start()?;
    let mut operator = host.operator().await?;
    // Waits for the machine code that the host makes at its first start.
    forging::forge(&mut operator, forging::template("first", &origin, 0)).await?;
    operator.output("first", &json!({})).await?;
    let first = begin.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for number in 1..=PREBUILT {
        let name = format!("prebuilt-{number}");
        let begin = Instant::now();
        let request = forging::template(&name, &origin, number);
        forging::forge(&mut operator, request).await?;
        operator.output(&name, &json!({})).await?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(vec![
        Figure::new("forge_nocompiler_ms", median(took), "ms", "<= 50"),
        Figure::new("forge_nocompiler_first_s", first, "s", ""),
    ])
}

fn host(origin: &Origin) -> nexus_tests::host::HostBuilder {
    Host::builder().config(&format!(
        "[egress]\nprivate_origins = [\"{}\"]\n[forge]\nprecompile_templates = true",
        origin.url()
    ))
}
