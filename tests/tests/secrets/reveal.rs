//! An agent that sees a secret: by a person's word alone, each time, and never so that the secret goes on from
//! there in clear.

use std::collections::BTreeSet;

use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_tests::client::reason;
use nexus_tests::{guests, probe};
use serde_json::{Value, json};
use tonic::Code;

use super::{Stage, VALUE, assert_clean, clean, files};

const REASON: &str = "to sign in the exchange's own way";

impl Stage {
    /// A secret that agents may see, in the operator's eyes.
    async fn set_revealable(&mut self, revealable: bool) -> anyhow::Result<v1::Secret> {
        let request = v1::SetSecretRequest {
            secret_id: "exchange-key".to_owned(),
            value: VALUE.to_owned(),
            audience: vec![self.exchange.url()],
            revealable,
            ..v1::SetSecretRequest::default()
        };
        Ok(self.client.vault.set_secret(request).await?.into_inner())
    }

    /// The guest of the world `trusted-agent`, and a peer of its.
    async fn with_confidant() -> anyhow::Result<Self> {
        let mut stage = Self::new().await?;
        stage.set_revealable(true).await?;
        stage.client.deploy(&guests::component("echo")).await?;
        let permissions = [
            probe::http(&stage.exchange.url()),
            probe::revealed("exchange-key", &[&stage.exchange.url()]),
            probe::memory("notes"),
            probe::peer("echo"),
        ];
        let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
        let manifest = probe::manifest("confidant", &permissions);
        let confidant = guests::with_manifest("confidant", &manifest);
        stage.client.deploy(&confidant).await?;
        Ok(stage)
    }

    /// Runs the steps after a reveal up to the question that it puts.
    async fn asked(&mut self, steps: &[Value]) -> anyhow::Result<(v1::Invocation, v1::Approval)> {
        let mut all = vec![json!({ "do": "reveal", "secret": "exchange-key", "reason": REASON })];
        all.extend_from_slice(steps);
        let waiting = self.client.invoke("confidant", &json!(all)).await?;
        clean(&waiting);
        anyhow::ensure!(waiting.approvals.len() == 1, "{waiting:?}");
        let approval = self.client.approval(&waiting.approvals[0]).await?;
        clean(&approval);
        Ok((waiting, approval))
    }

    /// The end of an invocation whose reveal is approved.
    async fn revealed(&mut self, steps: &[Value]) -> anyhow::Result<v1::Invocation> {
        let (waiting, approval) = self.asked(steps).await?;
        let decided = self.client.decide(&approval.name, Verdict::Approve).await?;
        clean(&decided);
        let ended = self.client.ended(&waiting.name).await?;
        clean(&ended);
        Ok(ended)
    }
}

fn output(ended: &v1::Invocation) -> anyhow::Result<Value> {
    match &ended.outcome {
        Some(v1::invocation::Outcome::Success(success)) => {
            Ok(serde_json::from_str(&success.output)?)
        }
        other => anyhow::bail!("{other:?}"),
    }
}

/// What the guest says of the value that it got.
fn seen() -> Value {
    let sum: u32 = VALUE.bytes().map(u32::from).sum();
    json!({ "ok": { "length": VALUE.len(), "sum": sum } })
}

#[tokio::test]
async fn an_agent_sees_a_secret_by_a_persons_word_each_time() -> anyhow::Result<()> {
    let mut stage = Stage::with_confidant().await?;
    let tell = [json!({ "do": "tell" })];
    let (waiting, approval) = stage.asked(&tell).await?;
    assert_eq!(approval.kind(), v1::ActionKind::Reveal);
    assert_eq!(approval.effect_class(), v1::EffectClass::Irreversible);
    let shown = approval.rendering.as_str();
    for line in [
        "action: reveal\n",
        "verb: reveal\n",
        "target: exchange-key\n",
        "what it means: the agent reads the secret itself",
        &format!("reason: \"{REASON}\""),
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    // Nobody can say yes for the next time.
    assert!(approval.suggestions.is_empty(), "{approval:?}");
    let remember = v1::DecideApprovalRequest {
        name: approval.name.clone(),
        verdict: Verdict::Approve.into(),
        remember: Some(v1::Remember {
            suggestion: 1,
            ..v1::Remember::default()
        }),
        ..v1::DecideApprovalRequest::default()
    };
    let refused = stage.client.approvals.decide_approval(remember).await;
    let refused = refused.expect_err("there is nothing to remember");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    stage.client.decide(&approval.name, Verdict::Deny).await?;
    let told = output(&stage.client.ended(&waiting.name).await?)?;
    assert_eq!(told[0]["error"], "denied", "{told}");
    assert_eq!(told[1]["ok"], "", "{told}");

    // A yes is good for one time, and the next one is asked about again.
    for _ in 0..2 {
        let (waiting, approval) = stage.asked(&tell).await?;
        stage
            .client
            .decide(&approval.name, Verdict::Approve)
            .await?;
        let ended = stage.client.ended(&waiting.name).await?;
        clean(&ended);
        let told = output(&ended)?;
        assert_eq!(
            told,
            json!([seen(), { "ok": "[secret:exchange-key]" }]),
            "{told}"
        );
        let events = v1::ListEventsRequest {
            page_size: 1000,
            ..v1::ListEventsRequest::default()
        };
        let events = stage.client.audit.list_events(events).await?.into_inner();
        clean(&events);
        let of_this = |event: &&v1::Event| event.approval == approval.name;
        let kinds: Vec<&str> = events
            .events
            .iter()
            .filter(of_this)
            .map(|event| event.kind.as_str())
            .collect();
        let end = &kinds[kinds.len().saturating_sub(2)..];
        assert_eq!(end, ["effect_started", "effect_finished"], "{kinds:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_an_agent_has_seen_leaves_in_no_way_unasked() -> anyhow::Result<()> {
    let mut stage = Stage::with_confidant().await?;
    let url = format!("{}/account", stage.exchange.url());
    let read = json!({ "do": "read", "url": url });
    // Before, the same read is free.
    let free = stage.client.output("confidant", &json!([read])).await?;
    assert_eq!(free, json!([{ "ok": 200 }]));

    // As it is, it goes nowhere.
    let ended = stage
        .revealed(&[
            json!({ "do": "log" }),
            json!({ "do": "remember", "space": "notes", "backwards": false }),
            json!({ "do": "pass", "peer": "echo" }),
            json!({ "do": "send", "url": url, "backwards": false }),
        ])
        .await?;
    let told = output(&ended)?;
    let ends: Vec<&str> = (1..5)
        .map(|at| told[at]["error"].as_str().unwrap_or("ok"))
        .collect();
    assert_eq!(
        ends,
        ["ok", "forbidden", "forbidden", "forbidden"],
        "{told}"
    );
    let failed = stage.revealed(&[json!({ "do": "fail" })]).await?;
    match &failed.outcome {
        Some(v1::invocation::Outcome::Failure(failure)) => {
            assert_eq!(failure.message, "it is [secret:exchange-key]");
        }
        other => anyhow::bail!("{other:?}"),
    }
    let watch = v1::WatchInvocationRequest {
        name: ended.name.clone(),
    };
    let watch = stage.client.invocations.watch_invocation(watch).await?;
    let (mut watch, mut lines) = (watch.into_inner(), String::new());
    while let Some(event) = watch.message().await? {
        clean(&event);
        lines.push_str(&format!("{event:?}"));
    }
    assert!(lines.contains("it is [secret:exchange-key]"), "{lines}");

    // Changed, it can't be told from other data, so a person is asked about whatever goes out: with
    // the value or without it.
    let before = stage.exchange.received().len();
    for step in [json!({ "do": "send", "url": url, "backwards": true }), read] {
        let (waiting, approval) = stage.asked(&[step]).await?;
        stage
            .client
            .decide(&approval.name, Verdict::Approve)
            .await?;
        let mut questions = stage.client.watch_approvals().await?;
        let question = questions.asked("confidant").await?;
        assert_eq!(question.capability, "http");
        assert_eq!(question.labels, ["secret:exchange-key"]);
        stage.client.decide(&question.name, Verdict::Deny).await?;
        let told = output(&stage.client.ended(&waiting.name).await?)?;
        assert_eq!(told[1]["error"], "denied", "{told}");
    }
    assert_eq!(stage.exchange.received().len(), before);

    // What it has written down keeps the label for whoever reads it.
    let remember = json!({ "do": "remember", "space": "notes", "backwards": true });
    let told = output(&stage.revealed(&[remember]).await?)?;
    assert_eq!(told[1], json!({ "ok": 1 }), "{told}");
    let mut steps = vec![
        json!({ "call": "memory.space.open", "name": "notes", "access": "read", "as": "m" }),
        json!({ "call": "memory.space.get", "on": "m", "key": "it" }),
    ];
    steps.extend(probe::exchange(
        &stage.exchange.url(),
        "get",
        "/account",
        &[],
    ));
    let waiting = stage.client.invoke("trader", &json!(steps)).await?;
    anyhow::ensure!(waiting.approvals.len() == 1, "{waiting:?}");
    let question = stage.client.approval(&waiting.approvals[0]).await?;
    assert_eq!(question.labels, ["secret:exchange-key"]);
    stage.client.decide(&question.name, Verdict::Deny).await?;
    stage.client.ended(&waiting.name).await?;

    let status = stage.host.stop()?;
    assert!(status.success(), "{status}");
    let mut found = Vec::new();
    files(stage.directory.path(), &mut found)?;
    let log = std::fs::read_to_string(stage.directory.path().join("log"))?;
    assert!(log.contains("TRACE"), "the host logged nothing: {log}");
    for file in found {
        assert_clean(&file.display().to_string(), &std::fs::read(&file)?);
    }
    Ok(())
}

#[tokio::test]
async fn operator_and_manifest_both_have_to_let_a_secret_be_seen() -> anyhow::Result<()> {
    let mut stage = Stage::with_confidant().await?;
    let audience = stage.exchange.url();
    let ask = json!([{ "do": "reveal", "secret": "exchange-key", "reason": REASON }]);

    // A component that could ask, with a manifest that does not say so, and the other way round.
    for (guest, permission, part) in [
        (
            "confidant",
            probe::secret("exchange-key", &[&audience]),
            "vault-reveal",
        ),
        (
            "probe",
            probe::revealed("exchange-key", &[&audience]),
            "vault-reveal",
        ),
    ] {
        let manifest = probe::manifest("other", &[&permission]);
        let component = guests::with_manifest(guest, &manifest);
        let refused = stage.client.upload(&component, Default::default()).await;
        let refused = refused.expect_err(guest);
        assert_eq!(reason(&refused), "MANIFEST_MISMATCH", "{guest}: {refused}");
        assert!(refused.message().contains(part), "{guest}: {refused}");
    }

    // The operator's word, and a reason that a person could read.
    let set = stage.set_revealable(false).await?;
    assert!(!set.revealable);
    let told = stage.client.output("confidant", &ask).await?;
    assert_eq!(told[0]["error"], "forbidden", "{told}");
    assert!(
        told[0]["text"].to_string().contains("--revealable"),
        "{told}"
    );
    assert!(stage.set_revealable(true).await?.revealable);
    for reason in [String::new(), " \n".to_owned(), "x".repeat(1025)] {
        let ask = json!([{ "do": "reveal", "secret": "exchange-key", "reason": reason }]);
        let told = stage.client.output("confidant", &ask).await?;
        assert_eq!(told[0]["error"], "invalid", "{told}");
    }
    // The yes of a person is looked at again when it is used.
    let (waiting, approval) = stage.asked(&[]).await?;
    stage.set_revealable(false).await?;
    stage
        .client
        .decide(&approval.name, Verdict::Approve)
        .await?;
    let told = output(&stage.client.ended(&waiting.name).await?)?;
    assert_eq!(told[0]["error"], "forbidden", "{told}");

    let list = v1::ListApprovalsRequest::default();
    let list = stage.client.approvals.list_approvals(list).await?;
    let reveals: BTreeSet<String> = list
        .into_inner()
        .approvals
        .into_iter()
        .filter(|approval| approval.verb == "reveal")
        .map(|approval| approval.name)
        .collect();
    assert!(
        reveals.iter().all(|name| *name == approval.name),
        "{reveals:?}"
    );
    Ok(())
}
