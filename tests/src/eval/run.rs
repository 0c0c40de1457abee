//! One case: forged, called, and looked at from outside.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, State};
use nexus_proto::v1::invocation::Outcome;
use nexus_proto::v1::invocation_event::Event;
use serde_json::Value;

use super::case::{Case, Entry, Step};
use super::report::Report;
use super::stage::Stage;
use super::world::line;
use crate::Client;
use crate::origin::Origin;

/// Forges the case's agent, calls it step by step, and says how it went. Never fails: what goes wrong
/// is in the report.
pub async fn run(stage: &Stage, case: &Case) -> Report {
    let mut report = Report::new(&case.name);
    if let Err(error) = attempt(stage, case, &mut report).await {
        report.problem = Some(format!("{error:#}"));
    }
    report
}

async fn attempt(stage: &Stage, case: &Case, report: &mut Report) -> anyhow::Result<()> {
    let mut client = stage.host.operator().await?;
    let origin = &stage.origins[&case.name];
    let began = Instant::now();
    forge(&mut client, case, &origin.url(), report).await?;
    report.callable = Some(began.elapsed());
    for (number, step) in case.told.steps.iter().enumerate() {
        let called = call(&mut client, case, origin, step).await;
        called.with_context(|| format!("step {}", number + 1))?;
    }
    report.behaves = true;
    Ok(())
}

/// Forges to the end; a person who is asked about permissions says yes.
async fn forge(
    client: &mut Client,
    case: &Case,
    origin: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let request = v1::ForgeAgentRequest {
        agent_id: case.name.clone(),
        words: case.words(origin),
        mode: v1::ForgeMode::Model.into(),
        ..v1::ForgeAgentRequest::default()
    };
    let mut decider = client.clone();
    let mut events = client.forge.forge_agent(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        if event.state() == State::Failed {
            report.repairs += 1;
        }
        match event.detail {
            Some(Detail::Published(_)) => return Ok(()),
            Some(Detail::Review(review)) => {
                decider
                    .decide(&review.approval, v1::Verdict::Approve)
                    .await?;
            }
            Some(detail) => last = Some(detail),
            None => {}
        }
    }
    // The last failure is the forge's own end, and no repair.
    report.repairs = report.repairs.saturating_sub(1);
    match last {
        Some(Detail::Failure(why)) => bail!("not forged: {why}"),
        Some(Detail::Diagnostics(found)) => {
            let first = found.diagnostics.first();
            bail!("not forged: {}", first.map_or("", |found| &found.message))
        }
        other => bail!("not forged: {other:?}"),
    }
}

/// Calls the agent and looks at all that came of it.
async fn call(
    client: &mut Client,
    case: &Case,
    origin: &Origin,
    step: &Step,
) -> anyhow::Result<()> {
    let before = origin.received().len();
    let called = calls(client, &case.name).await?;
    let request = v1::StartInvocationRequest {
        name: format!("agents/{}", case.name),
        input: step.input.to_string(),
        ..v1::StartInvocationRequest::default()
    };
    let started = client
        .invocations
        .start_invocation(request)
        .await?
        .into_inner();
    let (outcome, stopped) = follow(client, &started.name, (origin, before), step).await?;
    ensure!(
        stopped == step.stopped,
        "{stopped:?} waited for a person, and {:?} should have",
        step.stopped
    );
    judge(step, outcome)?;

    let received = origin.received().split_off(before);
    if let Some(expected) = &step.requests {
        let found: BTreeSet<String> = received.iter().map(line).collect();
        let expected: BTreeSet<String> = expected.iter().cloned().collect();
        ensure!(
            found == expected,
            "it sent {found:?}, and {expected:?} were expected"
        );
    }
    for (request, body) in &step.bodies {
        let last = received
            .iter()
            .rev()
            .find(|received| line(received) == *request);
        let last = last.with_context(|| format!("no {request}"))?;
        let sent: Value = serde_json::from_slice(&last.body)?;
        holds(body, &sent, "")
            .map_err(|at| anyhow::anyhow!("{request} carries {sent}, wrong at {at:?}"))?;
    }
    for (name, value) in &step.headers {
        let last = received.last().context("no request")?;
        let sent = last.headers.get(name).and_then(|value| value.to_str().ok());
        ensure!(
            sent == Some(value),
            "the header {name} is not what it should be"
        );
    }
    if let Some(expected) = &step.calls {
        let new: Vec<String> = calls(client, &case.name).await?.split_off(called.len());
        ensure!(
            new == *expected,
            "it called {new:?}, and {expected:?} were expected"
        );
    }
    for entry in &step.entries {
        look(client, entry).await?;
    }
    Ok(())
}

/// Follows an invocation to its end. Says yes to reads that go somewhere for the first time, and to
/// writes what the step says; gives the writes that it was asked about.
async fn follow(
    client: &mut Client,
    invocation: &str,
    (origin, before): (&Origin, usize),
    step: &Step,
) -> anyhow::Result<(Outcome, Vec<String>)> {
    let mut decider = client.clone();
    let watch = v1::WatchInvocationRequest {
        name: invocation.to_owned(),
    };
    let mut events = client
        .invocations
        .watch_invocation(watch)
        .await?
        .into_inner();
    let (mut stopped, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(event) = events.message().await? {
        // A second question leaves the state as it is, and is told by itself.
        let asked = match event.event {
            Some(Event::Approval(name)) => vec![name],
            Some(Event::State(invocation)) => match invocation.outcome {
                Some(outcome) => return Ok((outcome, stopped)),
                None => invocation.approvals,
            },
            _ => continue,
        };
        for name in asked {
            if !seen.insert(name.clone()) {
                continue;
            }
            let approval = decider.approval(&name).await?;
            let mut decision = v1::DecideApprovalRequest {
                name,
                verdict: v1::Verdict::Approve.into(),
                ..v1::DecideApprovalRequest::default()
            };
            if approval.effect_class() != v1::EffectClass::Read {
                let path = approval.target.strip_prefix(&origin.url());
                let path = path.unwrap_or(&approval.target).split('?').next();
                let write = format!("{} {}", approval.verb, path.unwrap_or_default());
                let sent = origin.received().split_off(before);
                let sent = sent.iter().filter(|it| line(it) == write).count();
                let decided = stopped.iter().filter(|it| **it == write).count();
                ensure!(sent <= decided, "{write} was sent before the decision");
                stopped.push(write);
                if let Some(reason) = &step.deny {
                    decision.verdict = v1::Verdict::Deny.into();
                    decision.reason = reason.clone();
                }
            }
            decider.approvals.decide_approval(decision).await?;
        }
    }
    bail!("the watch ended before the invocation")
}

fn judge(step: &Step, outcome: Outcome) -> anyhow::Result<()> {
    match (outcome, &step.fails) {
        (Outcome::Success(success), None) => {
            let output: Value = serde_json::from_str(&success.output)?;
            let Some(expected) = &step.output else {
                return Ok(());
            };
            holds(expected, &output, "")
                .map_err(|at| anyhow::anyhow!("it answered {output}, wrong at {at:?}: {expected}"))
        }
        (Outcome::Failure(failure), Some(code)) => {
            ensure!(
                failure.code == *code,
                "it failed with {}, not {code}",
                failure.code
            );
            Ok(())
        }
        (other, _) => bail!("it ended as {other:?}"),
    }
}

/// Whether `actual` holds all of `expected`; otherwise where it does not. Numbers may be written in
/// any way.
fn holds(expected: &Value, actual: &Value, place: &str) -> Result<(), String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            expected.iter().try_for_each(|(name, expected)| {
                let place = format!("{place}/{name}");
                // What is left out is null.
                holds(expected, actual.get(name).unwrap_or(&Value::Null), &place)
            })
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let mut pairs = expected.iter().zip(actual).enumerate();
            pairs.try_for_each(|(at, (expected, actual))| {
                holds(expected, actual, &format!("{place}/{at}"))
            })
        }
        (Value::Number(one), Value::Number(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) if (one - other).abs() <= 1e-9 * one.abs().max(1.0) => Ok(()),
            _ => Err(place.to_owned()),
        },
        _ if expected == actual => Ok(()),
        _ => Err(place.to_owned()),
    }
}

/// The agents that this one has called so far, by the trail.
async fn calls(client: &mut Client, agent: &str) -> anyhow::Result<Vec<String>> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListEventsRequest {
            page_size: 1_000,
            agent: format!("agents/{agent}"),
            page_token,
            ..v1::ListEventsRequest::default()
        };
        let page = client.audit.list_events(request).await?.into_inner();
        for event in page.events.iter().filter(|it| it.kind == "effect_started") {
            let detail: Value = serde_json::from_str(&event.detail)?;
            if detail["capability"] == "bus" && detail["verb"] == "call" {
                found.push(detail["target"].as_str().unwrap_or_default().to_owned());
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// Looks whether memory holds what it should.
async fn look(client: &mut Client, entry: &Entry) -> anyhow::Result<()> {
    let name = entry.name();
    let request = v1::GetEntryRequest { name: name.clone() };
    let found = match client.memory.get_entry(request).await {
        Ok(found) => found.into_inner().value,
        Err(status) if status.code() == tonic::Code::NotFound => {
            ensure!(entry.absent, "{name} is not there");
            return Ok(());
        }
        Err(status) => return Err(status.into()),
    };
    ensure!(!entry.absent, "{name} is there");
    let text = String::from_utf8_lossy(&found).into_owned();
    if let Some(expected) = &entry.text {
        ensure!(text == *expected, "{name} holds {text:?}, not {expected:?}");
    }
    if let Some(expected) = &entry.value {
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{name}: {text}"))?;
        holds(expected, &value, "")
            .map_err(|at| anyhow::anyhow!("{name} holds {text}, wrong at {at:?}"))?;
    }
    Ok(())
}
