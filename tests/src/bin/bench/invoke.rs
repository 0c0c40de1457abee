//! `invoke_ratio`: an echo agent, fresh instance each, over a bare tonic echo.
//!
//! 16 connections with 16 calls in flight each; one server core and one server thread, the client on
//! the other core; the two servers take turns.

use std::time::Duration;

use nexus_tests::{Host, guests};
use rustix::process::Pid;

use crate::bare::Bare;
use crate::figure::{Figure, median};
use crate::{client, load};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(3);

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    pin(1)?;
    let measured = client()?.block_on(rounds());
    unpin()?;
    measured
}

async fn rounds() -> anyhow::Result<Vec<Figure>> {
    let host = Host::builder()
        .config("[server]\ncalls_per_second = 1000000\n[runtime]\nworkers = 1\nconcurrency_per_agent = 1000")
        .through(&["taskset", "-c", "0"])
        .start()?;
    host.operator()
        .await?
        .deploy(&guests::component("echo"))
        .await?;
    let bare = Bare::start()?;
    let ours = load::connect(&host.endpoint, Some(host.token()), load::CONNECTIONS).await?;
    let theirs = load::connect(&bare.endpoint, None, load::CONNECTIONS).await?;
    let warm = Duration::from_millis(500);
    load::run(&ours, "echo", warm).await;
    load::run(&theirs, "echo", warm).await;
    let (mut ratios, mut rates, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let bare = load::run(&theirs, "echo", TIME).await;
        let host = load::run(&ours, "echo", TIME).await;
        anyhow::ensure!(
            bare.failed + host.failed == 0,
            "calls failed: {} and {}: {:?}",
            bare.failed,
            host.failed,
            bare.failure.or(host.failure)
        );
        ratios.push(host.per_second() / bare.per_second());
        rates.push(host.per_second());
        bares.push(bare.per_second());
    }
    Ok(vec![
        Figure::new("invoke_ratio", median(ratios), "ratio", ">= 0.35"),
        Figure::new("invoke_per_second", median(rates), "1/s", ""),
        Figure::new("bare_per_second", median(bares), "1/s", ""),
    ])
}

/// Keeps this process on one core.
fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None::<Pid>, &cores)?;
    Ok(())
}

fn unpin() -> anyhow::Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    for core in 0..std::thread::available_parallelism()
        .map_or(2, usize::from)
        .max(2)
    {
        cores.set(core);
    }
    rustix::thread::sched_setaffinity(None::<Pid>, &cores)?;
    Ok(())
}
