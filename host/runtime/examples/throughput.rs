//! Prints how many invocations of a component a second this machine does, on
//! one thread and on two, and what each costs in CPU time, which a machine that
//! is busy with other things tells more truly: `throughput echo.wasm [seconds]`.
//! The component may import no capability. It is compiled by the example
//! `compiler`, which has to stand beside this one.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is what it is for"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_audit::{Audit, SigningKey};
use nexus_effects::http::{Egress, EgressOptions};
use nexus_effects::memory::Memory;
use nexus_gate::{Gate, OpenFloor, Policy, Principal, RootOrigin};
use nexus_runtime::{Compiler, Invoke, Options, Outcome, Publish, Runtime, Services};
use nexus_store::{Blobs, RedbStore, Store};
use nexus_vault::{MasterKey, Vault};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        return Err("usage: throughput FILE [SECONDS]".into());
    };
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let component = std::fs::read(path)?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for threads in [1, 2] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .event_interval(8)
            .enable_all()
            .build()?;
        let time = Duration::from_secs(seconds);
        let (rate, cost) = runtime.block_on(measure(component.clone(), threads, time))?;
        println!("{threads} threads: {rate:.0} invocations/s, {cost:.2} us of CPU each");
        rates.push(rate);
        costs.push(cost);
    }
    println!(
        "scaling: {:.2}, by CPU time {:.2}",
        rates[1] / rates[0],
        2.0 * costs[0] / costs[1]
    );
    Ok(())
}

fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn measure(
    component: Vec<u8>,
    threads: usize,
    time: Duration,
) -> Result<(f64, f64), Box<dyn Error>> {
    let dir = tempfile::TempDir::new()?;
    let path = dir.path();
    let store: Arc<dyn Store> = RedbStore::open(path, nexus_store::Options::default())?;
    let audit = Audit::open(Arc::clone(&store), SigningKey::generate()?).await?;
    let master = MasterKey::load_or_create(path.join("master.key"))?;
    let vault = Vault::open(Arc::clone(&store), audit.clone(), master).await?;
    let gate = Gate::open(nexus_gate::Options {
        store: Arc::clone(&store),
        audit: audit.clone(),
        vault: vault.clone(),
        policy: Policy::shipped(),
        floor: Arc::new(OpenFloor),
        deadline: Duration::from_secs(60),
        self_approval: true,
    })
    .await?;
    let services = Arc::new(Services {
        store: Arc::clone(&store),
        blobs: Blobs::open(path.join("blobs"))?,
        audit: audit.clone(),
        vault,
        gate,
        egress: Arc::new(Egress::new(EgressOptions::default())?),
        memory: Memory::new(store, audit),
    });
    let mut options = Options::new(path);
    let helper = std::env::current_exe()?.with_file_name("compiler");
    options.compiler = Compiler::default().program(&helper).sandbox(&helper);
    let runtime = Runtime::open(options, services, |_| Ok(())).await?;
    let me = Principal::new("me");
    let begin = Instant::now();
    let first = runtime.prepare(component.clone().into()).await?;
    let compiled = begin.elapsed();
    let prepared = runtime.prepare(component.into()).await?;
    let cached = begin.elapsed() - compiled;
    let agent = prepared.agent().clone();
    runtime.publish(first, Publish::by(me.clone())).await?;
    println!(
        "prepare: {compiled:.1?}, from the cache {cached:.1?}; publish: {:.1?}",
        begin.elapsed() - compiled - cached
    );

    let begin = cpu();
    let end = Instant::now() + time;
    // Enough callers to keep every thread busy, each waiting for its answer.
    let callers = (0..threads * 4).map(|_| {
        let (runtime, agent, me) = (runtime.clone(), agent.clone(), me.clone());
        tokio::spawn(async move {
            let mut calls = 0_u64;
            while Instant::now() < end {
                let invoke = Invoke {
                    agent: agent.clone(),
                    input: r#""hello""#.to_owned(),
                    principal: me.clone(),
                    root: RootOrigin::Interactive,
                    chain: None,
                    request_id: None,
                    timeout: None,
                };
                let Ok(running) = runtime.invoke(invoke).await else {
                    break;
                };
                if !matches!(*running.outcome().await, Outcome::Success(_)) {
                    break;
                }
                calls += 1;
            }
            calls
        })
    });
    let mut calls = 0;
    for caller in callers.collect::<Vec<_>>() {
        calls += caller.await?;
    }
    let calls = calls as f64;
    Ok((calls / time.as_secs_f64(), (cpu() - begin) * 1e6 / calls))
}
