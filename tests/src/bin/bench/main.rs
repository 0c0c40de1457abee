//! Measures what the project promises, and prints and writes the figures.
//!
//! Every ratio is of two things measured in the same run. Figures go to standard output as a table
//! and to `target/bench.json` as a list of `{name, value, unit, bar}`. `bench NAME...` runs only the
//! measurements whose name begins so.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what it is for"
)]

mod bare;
mod dev;
mod figure;
mod forge;
mod forging;
mod gate;
mod hog;
mod invoke;
mod load;
mod parts;
mod publish;
mod scaling;
mod swaps;

use anyhow::Context as _;
use nexus_tests::host::target;

use crate::figure::Figure;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|mode| mode == bare::MODE) {
        return bare::serve();
    }
    let wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|a| name.starts_with(a.as_str()));
    let mut figures = Vec::new();
    let mut run =
        |name: &str, measure: fn() -> anyhow::Result<Vec<Figure>>| -> anyhow::Result<()> {
            if wanted(name) {
                eprintln!("measuring {name} ...");
                for figure in measure().with_context(|| format!("failed to measure {name}"))? {
                    eprintln!("  {figure}");
                    figures.push(figure);
                }
            }
            Ok(())
        };
    run("invoke", invoke::measure)?;
    run("core_scaling", scaling::measure)?;
    run("hog", hog::measure)?;
    run("publish", publish::measure)?;
    run("forge", forge::measure)?;
    run("dev", dev::measure)?;
    run("gate", gate::measure)?;
    run("swaps", swaps::measure)?;

    println!("{}", figure::table(&figures));
    let file = target().join("bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&figures)?)?;
    eprintln!("written to {}", file.display());
    Ok(())
}

/// A runtime for the side that measures: on one core, so that the other is the server's.
fn client() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
