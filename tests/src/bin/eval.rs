//! Has a live model write the agents of `tests/forge-eval` and tries each: `eval BASE_URL MODEL KEY_ENV
//! [CASE...]`, as `make eval` calls it. The table goes to standard output, and everything to
//! `target/eval.json`. Ends well if every case was run, however the model did.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what it is for"
)]

use anyhow::{Context as _, ensure};
use nexus_tests::eval::{Endpoint, Stage, cases, json, run, table};
use nexus_tests::host::target;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| {
        arguments
            .next()
            .with_context(|| format!("{what} is missing"))
    };
    let endpoint = Endpoint::Live {
        base_url: next("the base URL")?,
        model: next("the model")?,
        key_env: Some(next("the key's variable, which may be empty")?)
            .filter(|name| !name.is_empty()),
    };
    let Endpoint::Live { model, .. } = &endpoint else {
        anyhow::bail!("the endpoint is live");
    };
    let wanted: Vec<String> = arguments.collect();
    let mut cases = cases()?;
    cases.retain(|case| wanted.is_empty() || wanted.contains(&case.name));
    ensure!(!cases.is_empty(), "no case has a name of {wanted:?}");
    let stage = Stage::new(&cases, &endpoint).await?;
    let mut reports = Vec::new();
    for case in &cases {
        eprintln!("{} ...", case.name);
        reports.push(run(&stage, case).await);
    }
    println!("{}", table(model, &reports));
    let file = target().join("eval.json");
    std::fs::write(&file, serde_json::to_string_pretty(&json(model, &reports))?)?;
    eprintln!("written to {}", file.display());
    Ok(())
}
