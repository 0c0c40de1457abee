//! What a person is shown, and what their word does.

use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_tests::client::reason;
use nexus_tests::desk::{Desk, last};
use nexus_tests::probe;
use serde_json::json;
use tonic::Code;

fn decide(approval: &v1::Approval, verdict: Verdict) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        name: approval.name.clone(),
        verdict: verdict.into(),
        ..v1::DecideApprovalRequest::default()
    }
}

#[tokio::test]
async fn a_write_waits_is_shown_whole_and_arrives_once_as_it_was_shown() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let body = "{\"side\": \"buy\",\n \"note\": \"end of the agent's words\"}";
    let header = |name: &str, value: &str| json!({ "call": "http.request.header", "name": name, "value": value });
    let parts = [
        header("Content-Type", "application/json"),
        header("X-Account", "7"),
        header("X-Trace", "grün \u{202e}"),
        json!({ "call": "http.request.body", "value": body }),
    ];
    let steps = probe::exchange(&desk.origin.url(), "post", "/orders?dry=no", &parts);
    let (waiting, approval) = desk.park(&steps).await?;

    assert_eq!(approval.state(), State::Pending);
    assert_eq!(approval.agent, "agents/trader");
    assert_eq!(approval.invocation, waiting.name);
    assert_eq!(approval.principal, "operator");
    assert_eq!(approval.kind(), v1::ActionKind::Effect);
    assert_eq!(approval.effect_class(), v1::EffectClass::External);
    assert_eq!(approval.root_origin(), v1::RootOrigin::Interactive);
    assert_eq!(approval.component_digest, waiting.component_digest);
    assert_eq!(
        (approval.capability.as_str(), approval.verb.as_str()),
        ("http", "POST")
    );
    assert_eq!(
        approval.target,
        format!("{}/orders?dry=no", desk.origin.url())
    );
    assert_eq!(approval.required_approvals, 1);
    assert_eq!(approval.policies, ["external-needs-a-person"]);
    let shown = &approval.rendering;
    for line in [
        "agent: trader",
        "on behalf of: operator",
        "verb: POST",
        &format!("target: {}/orders?dry=no", desk.origin.url()),
        "  | headers[0]: \"content-type: application/json\"",
        "  | headers[1]: \"x-account: 7\"",
        "  | headers[2]: \"x-trace: grün \\u{202e}\"",
        "  |   | {\"side\": \"buy\",",
        "  |   |  \"note\": \"end of the agent's words\"}",
        &format!("digest: {}", approval.digest),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is missing in\n{shown}"
        );
    }
    assert!(
        desk.origin.received().is_empty(),
        "nothing leaves before the yes"
    );

    desk.approve(&approval).await?;
    let output = desk.client.result(&waiting.name).await?;
    assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    let received = desk.origin.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].method, "POST");
    assert_eq!(received[0].target, "/orders?dry=no");
    assert_eq!(received[0].body, body.as_bytes());
    let expected = [
        "accept-encoding: gzip".to_owned(),
        format!("content-length: {}", body.len()),
        "content-type: application/json".to_owned(),
        format!("host: {}", desk.origin.authority()),
        format!("user-agent: nexus/{}", env!("CARGO_PKG_VERSION")),
        "x-account: 7".to_owned(),
        "x-trace: grün \u{202e}".to_owned(),
    ];
    assert_eq!(received[0].fields(), expected);

    let spent = desk.client.approval(&approval.name).await?;
    assert_eq!(spent.state(), State::Consumed);
    assert_eq!(spent.decisions.len(), 1);
    assert_eq!(spent.decisions[0].principal, "operator");
    assert_eq!(
        spent.rendering, approval.rendering,
        "what was shown stays on record"
    );
    Ok(())
}

#[tokio::test]
async fn a_no_reaches_the_agent_with_its_reason_and_nothing_else_goes_anywhere()
-> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (waiting, approval) = desk.park(&desk.order(1)).await?;
    let deny = v1::DecideApprovalRequest {
        reason: "too much for one day".to_owned(),
        ..decide(&approval, Verdict::Deny)
    };
    desk.client.approvals.decide_approval(deny).await?;
    let output = desk.client.result(&waiting.name).await?;
    assert_eq!(last(&output)["error"], "denied", "{output}");
    let words = last(&output)["text"].as_str().unwrap_or_default();
    assert!(words.contains("too much for one day"), "{words}");
    assert!(desk.origin.received().is_empty());
    let denied = desk.client.approval(&approval.name).await?;
    assert_eq!(denied.state(), State::Denied);
    assert_eq!(denied.decisions[0].reason, "too much for one day");
    Ok(())
}

#[tokio::test]
async fn a_no_that_the_agent_passes_on_ends_the_invocation_as_a_refusal() -> anyhow::Result<()> {
    use v1::invocation::Outcome;
    use v1::refusal::Kind;

    let mut desk = Desk::new().await?;
    let fail = |code: &str| json!({ "call": "fail", "name": code, "value": "given up" });
    for (code, refused) in [("denied", true), ("out-of-luck", false)] {
        let mut steps = desk.order(1);
        steps.push(fail(code));
        let (waiting, approval) = desk.park(&steps).await?;
        let deny = v1::DecideApprovalRequest {
            reason: "too much for one day".to_owned(),
            ..decide(&approval, Verdict::Deny)
        };
        desk.client.approvals.decide_approval(deny).await?;
        match desk.client.ended(&waiting.name).await?.outcome {
            Some(Outcome::Refusal(refusal)) if refused => {
                assert_eq!(refusal.kind(), Kind::Denied);
                assert_eq!(refusal.reason, "too much for one day");
            }
            Some(Outcome::Failure(failure)) if !refused => assert_eq!(failure.code, code),
            other => anyhow::bail!("{code}: {other:?}"),
        }
    }

    // What the manifest does not name, nobody is asked about.
    let elsewhere = json!({ "call": "memory.space.open", "name": "elsewhere", "access": "read" });
    let steps = json!([elsewhere, fail("forbidden")]);
    match desk.client.invoke("trader", &steps).await?.outcome {
        Some(Outcome::Refusal(refusal)) => {
            assert_eq!(refusal.kind(), Kind::Forbidden);
            assert!(refusal.reason.contains("elsewhere"), "{refusal:?}");
        }
        other => anyhow::bail!("{other:?}"),
    }

    // An agent can't make one up.
    let steps = json!([fail("denied")]);
    match desk.client.invoke("trader", &steps).await?.outcome {
        Some(Outcome::Failure(failure)) => assert_eq!(failure.message, "given up"),
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn the_first_decision_counts_its_repetition_is_harmless_and_another_is_told_so()
-> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    for (number, first, second) in [
        (1, Verdict::Approve, Verdict::Deny),
        (2, Verdict::Deny, Verdict::Approve),
    ] {
        let (waiting, approval) = desk.park(&desk.order(number)).await?;
        let before = desk.client.decide(&approval.name, first).await?;
        // At once, and again when the effect is over.
        let again = desk.client.decide(&approval.name, first).await?;
        assert_eq!(again.decisions, before.decisions, "{first:?}");
        desk.client.result(&waiting.name).await?;
        let later = desk.client.decide(&approval.name, first).await?;
        assert_eq!(later.decisions, before.decisions, "{first:?}");

        let refused = desk.client.decide(&approval.name, second).await;
        let refused = refused.expect_err("it is decided");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert_eq!(reason(&refused), "ALREADY_DECIDED");
    }
    assert_eq!(
        desk.bodies(),
        [r#"{"quantity":1}"#],
        "the yes sent it once, the no never"
    );
    Ok(())
}

#[tokio::test]
async fn a_decision_on_something_else_than_was_shown_does_not_count() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (waiting, approval) = desk.park(&desk.order(1)).await?;
    let other = format!("sha256:{}", "0".repeat(64));
    for (digest, code) in [
        (other.as_str(), Code::Aborted),
        ("sha256:abc", Code::InvalidArgument),
    ] {
        let request = v1::DecideApprovalRequest {
            digest: digest.to_owned(),
            ..decide(&approval, Verdict::Approve)
        };
        let refused = desk.client.approvals.decide_approval(request).await;
        assert_eq!(refused.expect_err(digest).code(), code, "{digest}");
    }
    let refused = desk
        .client
        .approvals
        .decide_approval(decide(&approval, Verdict::Unspecified))
        .await;
    assert_eq!(
        refused.expect_err("no verdict").code(),
        Code::InvalidArgument
    );
    assert_eq!(
        desk.client.approval(&approval.name).await?.state(),
        State::Pending
    );
    assert!(desk.origin.received().is_empty());

    let request = v1::DecideApprovalRequest {
        digest: approval.digest.clone(),
        ..decide(&approval, Verdict::Approve)
    };
    desk.client.approvals.decide_approval(request).await?;
    desk.client.result(&waiting.name).await?;
    assert_eq!(desk.origin.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_approval_that_is_not_there_is_not_found() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (_, approval) = desk.park(&desk.order(1)).await?;
    let (most, last) = approval.name.split_at(approval.name.len() - 1);
    let other = format!("{most}{}", if last == "0" { "1" } else { "0" });
    for (name, code) in [
        (other.as_str(), Code::NotFound),
        ("approvals/1", Code::InvalidArgument),
        ("agents/trader", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        let refused = desk.client.decide(name, Verdict::Approve).await;
        assert_eq!(refused.expect_err(name).code(), code, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn where_self_approval_is_off_another_person_has_to_decide() -> anyhow::Result<()> {
    let mut desk = Desk::with("[approvals]\nself_approval = false").await?;
    let (waiting, approval) = desk.park(&desk.order(1)).await?;
    let refused = desk.client.decide(&approval.name, Verdict::Approve).await;
    let refused = refused.expect_err("the one who asked");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert_eq!(reason(&refused), "SELF_APPROVAL");
    // Another token of the same principal is the same person.
    let mut again = desk.host.client("operator", v1::Role::Approver).await?;
    let refused = again.decide(&approval.name, Verdict::Approve).await;
    assert_eq!(
        reason(&refused.expect_err("the same person")),
        "SELF_APPROVAL"
    );
    assert!(desk.origin.received().is_empty());

    let mut other = desk.host.client("bob", v1::Role::Approver).await?;
    other.decide(&approval.name, Verdict::Approve).await?;
    desk.client.result(&waiting.name).await?;
    assert_eq!(desk.origin.received().len(), 1);
    let spent = desk.client.approval(&approval.name).await?;
    assert_eq!(spent.decisions[0].principal, "bob");
    Ok(())
}

#[tokio::test]
async fn a_question_nobody_answers_expires_and_the_agent_is_told() -> anyhow::Result<()> {
    let mut desk = Desk::with("[approvals]\ndeadline_seconds = 1").await?;
    let (waiting, approval) = desk.park(&desk.order(1)).await?;
    let output = desk.client.result(&waiting.name).await?;
    assert_eq!(last(&output)["error"], "expired", "{output}");
    let expired = desk.client.approval(&approval.name).await?;
    assert_eq!(expired.state(), State::Expired);
    let late = desk.client.decide(&approval.name, Verdict::Approve).await;
    assert_eq!(late.expect_err("too late").code(), Code::FailedPrecondition);
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn more_than_a_person_can_read_is_not_asked_but_refused() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let order = |bytes: usize| json!({ "note": "a".repeat(bytes) });
    let steps = probe::post(&desk.origin.url(), "/orders", &order(70_000));
    let output = desk.client.output("trader", &json!(steps)).await?;
    assert_eq!(last(&output)["error"], "invalid", "{output}");
    // Just under the limit it is shown to its last character.
    let steps = probe::post(&desk.origin.url(), "/orders", &order(60_000));
    let (_, approval) = desk.park(&steps).await?;
    assert!(approval.rendering.contains(&"a".repeat(60_000)));
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_the_manifest_names_a_read_passes_and_its_like_does_not() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let rpc = |body: &str| {
        let body = json!({ "call": "http.request.body", "value": body });
        probe::exchange(&desk.origin.url(), "post", "/rpc", &[body])
    };
    let reads = [
        r#"{"method":"eth_getBalance","params":["0x1"]}"#,
        r#"{"method":"eth_call"}"#,
    ];
    let writes = [
        r#"{"method":"eth_sendRawTransaction"}"#,
        r#"{"method":"ETH_CALL"}"#,
        r#"[{"method":"eth_call"}]"#,
        r#"{"method":["eth_call"]}"#,
        r#"{"method":"eth_call","method":"eth_sendRawTransaction"}"#,
        r#"{"method":"eth_call"} {"method":"eth_sendRawTransaction"}"#,
        "method=eth_call",
        "",
    ];
    let (reads_steps, writes_steps) = (reads.map(rpc), writes.map(rpc));
    for steps in &reads_steps {
        let output = desk.client.output("trader", &json!(steps)).await?;
        assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    }
    assert_eq!(desk.bodies(), reads);
    for (steps, body) in writes_steps.iter().zip(writes) {
        let (waiting, _) = desk.park(steps).await?;
        let cancel = v1::CancelInvocationRequest {
            name: waiting.name,
            reason: format!("{body} was a test"),
        };
        desk.client.invocations.cancel_invocation(cancel).await?;
    }
    assert_eq!(desk.bodies(), reads, "no write went out");
    Ok(())
}
