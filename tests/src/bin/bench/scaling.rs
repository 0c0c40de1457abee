//! `core_scaling`: invocations of the echo agent in this process, two threads over one.

use std::time::{Duration, Instant};

use nexus_gate::{Principal, RootOrigin};
use nexus_manifest::AgentName;
use nexus_runtime::{Compiler, Invoke, Options, Outcome, Publish, Runtime};
use nexus_tests::guests;

use crate::figure::{Figure, median};
use crate::parts;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(2);
/// Callers for each thread: enough to keep it busy while others wait for their answer.
const CALLERS: usize = 4;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let (mut ratios, mut ones) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let one = per_second(1)?;
        let two = per_second(2)?;
        ratios.push(two / one);
        ones.push(one);
    }
    Ok(vec![
        Figure::new("core_scaling", median(ratios), "ratio", ">= 1.7"),
        Figure::new("in_process_per_second", median(ones), "1/s", ""),
    ])
}

fn per_second(threads: usize) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .event_interval(8)
        .enable_all()
        .build()?;
    runtime.block_on(run(threads))
}

async fn run(threads: usize) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let services = parts::services(&directory).await?;
    let mut options = Options::new(directory.path());
    options.compiler = Compiler::default().in_process();
    let runtime = Runtime::open(options, services, nexus_capabilities::link).await?;
    let principal = Principal::new("bench");
    let prepared = runtime.prepare(guests::component("echo").into()).await?;
    let agent = prepared.agent().clone();
    runtime
        .publish(prepared, Publish::by(principal.clone()))
        .await?;

    let begin = Instant::now();
    let end = begin + TIME;
    let callers: Vec<_> = (0..threads * CALLERS)
        .map(|_| {
            let (runtime, principal) = (runtime.clone(), principal.clone());
            // Each caller brings the name in memory of its own, as each request does.
            let agent: anyhow::Result<AgentName> = agent.as_str().parse().map_err(Into::into);
            tokio::spawn(async move {
                let agent = agent?;
                let mut calls = 0_u64;
                while Instant::now() < end {
                    let running = runtime
                        .invoke(Invoke {
                            agent: agent.clone(),
                            input: r#"{"say":"hello"}"#.to_owned(),
                            principal: principal.clone(),
                            root: RootOrigin::Interactive,
                            chain: None,
                            request_id: None,
                            timeout: None,
                        })
                        .await?;
                    let outcome = running.outcome().await;
                    anyhow::ensure!(matches!(*outcome, Outcome::Success(_)), "{outcome:?}");
                    calls += 1;
                }
                Ok(calls)
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await??;
    }
    Ok(calls as f64 / begin.elapsed().as_secs_f64())
}
