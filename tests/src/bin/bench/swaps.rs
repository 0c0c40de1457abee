//! `swaps_lost` and `forge_swaps_lost`: calls lost to 1,000 swaps of the agent they are for; the
//! second time while 50 forges are under way all along.
//!
//! A call is lost if it fails, or if it began after generation N was acknowledged and was answered
//! by an older one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use nexus_proto::v1;
use nexus_tests::{Host, guests};

use crate::figure::Figure;
use crate::{client, forging, load};

const SWAPS: usize = 1_000;
/// Calls in flight on each connection.
const IN_FLIGHT: usize = 2;
const FORGES: usize = 50;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let alone = client()?.block_on(swap(0))?;
    let beside = client()?.block_on(swap(FORGES))?;
    anyhow::ensure!(beside.forged > 0, "nothing was forged meanwhile");
    Ok(vec![
        Figure::new("swaps_lost", alone.lost as f64, "calls", "= 0"),
        Figure::new("swaps_calls", alone.calls as f64, "calls", ""),
        Figure::new("swap_ms", alone.swap_ms, "ms", ""),
        Figure::new("forge_swaps_lost", beside.lost as f64, "calls", "= 0"),
        Figure::new("forge_swaps_calls", beside.calls as f64, "calls", ""),
        Figure::new("forge_swaps_forged", beside.forged as f64, "forges", ""),
    ])
}

struct Swapped {
    calls: u64,
    lost: u64,
    /// Forges that ended with a live agent.
    forged: u64,
    swap_ms: f64,
}

async fn swap(forges: usize) -> anyhow::Result<Swapped> {
    let host = Host::builder()
        .config("[server]\ncalls_per_second = 1000000\n[runtime]\nconcurrency_per_agent = 1000")
        .start()?;
    let mut operator = host.operator().await?;
    let echo = guests::component("echo");
    let first = operator.deploy(&echo).await?;
    let acknowledged = Rc::new(Cell::new(first.generation));
    let (calls, lost) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let (over, forged) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u64)));
    let clients = load::connect(&host.endpoint, Some(host.token()), load::CONNECTIONS).await?;
    let local = tokio::task::LocalSet::new();
    let origin = forging::market().await?;
    let mut forging = Vec::new();
    for place in 0..forges {
        let (mut operator, forged) = (host.operator().await?, Rc::clone(&forged));
        let request = forging::source(&format!("beside-{place}"), &origin, place);
        // As soon as one has ended, the next version is begun.
        forging.push(local.spawn_local(async move {
            while forging::forge(&mut operator, request.clone()).await.is_ok() {
                forged.set(forged.get() + 1);
            }
        }));
    }
    for client in &clients {
        for _ in 0..IN_FLIGHT {
            let (mut client, acknowledged) = (client.clone(), Rc::clone(&acknowledged));
            let (calls, lost, over) = (Rc::clone(&calls), Rc::clone(&lost), Rc::clone(&over));
            local.spawn_local(async move {
                while !over.get() {
                    let least = acknowledged.get();
                    let request = v1::InvokeAgentRequest {
                        name: "agents/echo".to_owned(),
                        input: "1".to_owned(),
                        ..v1::InvokeAgentRequest::default()
                    };
                    let good = client.invoke_agent(request).await.is_ok_and(|answer| {
                        let answer = answer.get_ref();
                        answer.generation >= least
                            && matches!(answer.outcome, Some(v1::invocation::Outcome::Success(_)))
                    });
                    calls.set(calls.get() + 1);
                    lost.set(lost.get() + u64::from(!good));
                }
            });
        }
    }
    let swapping = local.run_until(async {
        let begin = Instant::now();
        for _ in 0..SWAPS {
            let agent = operator.deploy(&echo).await?;
            acknowledged.set(agent.generation);
        }
        over.set(true);
        anyhow::Ok(begin.elapsed().as_secs_f64())
    });
    let seconds = swapping.await?;
    for one in &forging {
        one.abort();
    }
    local.await;
    anyhow::ensure!(
        calls.get() > SWAPS as u64,
        "only {} calls were made",
        calls.get()
    );
    Ok(Swapped {
        calls: calls.get(),
        lost: lost.get(),
        forged: forged.get(),
        swap_ms: seconds * 1e3 / SWAPS as f64,
    })
}
