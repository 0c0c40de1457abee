//! A second version goes live under load, and no call is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::ensure;
use nexus_proto::v1::ForgeBuilder;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Model, ask_price, forging};
use crate::{
    cli::{connection::Client, text::line},
    demo::{
        market::{ASK, Market, PRICE},
        story::Story,
    },
};

/// How many callers call at the same time, each as fast as it is answered.
const CALLERS: usize = 4;

/// What callers saw.
#[derive(Default)]
struct Tally {
    /// Answers by the generation that gave them, and the prices that it answered.
    answers: BTreeMap<u64, (u64, BTreeSet<String>)>,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, call: anyhow::Result<(u64, serde_json::Value)>) {
        match call {
            Ok((generation, answer)) => {
                let (count, prices) = self.answers.entry(generation).or_default();
                *count += 1;
                prices.insert(answer["price"].to_string());
            }
            Err(error) => self.failures.push(line(&format!("{error:#}"))),
        }
    }
}

/// Forges the agent again, now reading the asking price, while callers call it.
pub(super) async fn swap(
    story: &mut Story,
    client: &Client,
    market: &Market,
    model: Option<&Model>,
    by: ForgeBuilder,
    before: u64,
) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let (report, mut calls) = mpsc::unbounded_channel();
    // Dropping the set ends the callers if the forge below fails.
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, stop, report) = (client.clone(), Arc::clone(&stop), report.clone());
        callers.spawn(async move {
            loop {
                // Looked at before the call, so that each caller's last call begins after the swap.
                let last = stop.load(Ordering::Acquire);
                let call = ask_price(&client).await;
                let failed = call.is_err();
                if report.send(call).is_err() || last || failed {
                    return;
                }
            }
        });
    }
    drop(report);

    let mut tally = Tally::default();
    // The old version has to be at work before the new one is made.
    if let Some(call) = calls.recv().await {
        tally.add(call);
    }
    let published = {
        let compiled = forging::Version {
            member: "ask",
            by,
            label: "forge again",
        };
        let origin = &market.origin;
        let mut forged = Box::pin(forging::forge(story, client, origin, model, compiled));
        loop {
            tokio::select! {
                published = &mut forged => break published?,
                Some(call) = calls.recv() => tally.add(call),
            }
        }
    };
    stop.store(true, Ordering::Release);
    while let Some(call) = calls.recv().await {
        tally.add(call);
    }
    check(story, &tally, before, published.generation)
}

fn check(story: &mut Story, tally: &Tally, before: u64, after: u64) -> anyhow::Result<()> {
    let total: u64 = tally.answers.values().map(|(count, _)| count).sum();
    story.say(&format!(
        "   {total} calls answered meanwhile, {} failed",
        tally.failures.len()
    ));
    for (generation, (count, prices)) in &tally.answers {
        let prices: Vec<&str> = prices.iter().map(String::as_str).collect();
        story.say(&format!(
            "   generation {generation}: {count} answers, price {}",
            line(&prices.join(" and "))
        ));
    }
    for failure in &tally.failures {
        story.say(&format!("   failed: {failure}"));
    }
    story.fact("callsDuringSwap", total);
    story.fact("callsFailed", tally.failures.len());
    story.fact(
        "generationsSeen",
        tally.answers.keys().copied().collect::<Vec<_>>(),
    );

    ensure!(
        tally.failures.is_empty(),
        "{} calls failed while the second version went live",
        tally.failures.len()
    );
    let expected = BTreeMap::from([(before, PRICE.to_string()), (after, ASK.to_string())]);
    ensure!(
        tally.answers.keys().eq(expected.keys()),
        "generations {before} and {after} were to answer, and only they"
    );
    for (generation, price) in &expected {
        let seen = tally.answers.get(generation).map(|(_, prices)| prices);
        ensure!(
            seen.is_some_and(|prices| prices.len() == 1 && prices.contains(price)),
            "generation {generation} was to answer the price {price} and nothing else"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::{Format, Output};

    fn story() -> Story {
        Story::new(true, Output::new(Format::Text))
    }

    fn tally(calls: &[(u64, f64)]) -> Tally {
        let mut tally = Tally::default();
        for (generation, price) in calls {
            tally.add(Ok((*generation, json!({ "price": price }))));
        }
        tally
    }

    #[test]
    fn both_versions_have_to_answer_as_themselves() {
        let good = tally(&[(1, PRICE), (1, PRICE), (2, ASK)]);
        assert!(check(&mut story(), &good, 1, 2).is_ok());
        let never_swapped = tally(&[(1, PRICE)]);
        assert!(check(&mut story(), &never_swapped, 1, 2).is_err());
        let mixed = tally(&[(1, PRICE), (2, PRICE), (2, ASK)]);
        assert!(check(&mut story(), &mixed, 1, 2).is_err());
    }

    #[test]
    fn one_lost_call_is_a_failure() {
        let mut lost = tally(&[(1, PRICE), (2, ASK)]);
        lost.add(Err(anyhow::anyhow!("gone")));
        assert!(check(&mut story(), &lost, 1, 2).is_err());
    }
}
