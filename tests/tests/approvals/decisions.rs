//! More than yes and no: something else instead, and a word that holds for later.

use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_tests::client::reason;
use nexus_tests::desk::{Desk, last};
use nexus_tests::{Host, probe};
use serde_json::{Value, json};

fn body(text: &str) -> v1::Edit {
    v1::Edit {
        parts: vec![v1::PayloadPart {
            name: "body".to_owned(),
            media_type: "application/json".to_owned(),
            data: text.as_bytes().to_vec(),
        }],
        replace_parts: true,
        ..v1::Edit::default()
    }
}

fn yes(approval: &v1::Approval) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        name: approval.name.clone(),
        verdict: Verdict::Approve.into(),
        digest: approval.digest.clone(),
        ..v1::DecideApprovalRequest::default()
    }
}

fn remember(approval: &v1::Approval, suggestion: u32) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        remember: Some(v1::Remember {
            suggestion,
            ..v1::Remember::default()
        }),
        ..yes(approval)
    }
}

async fn grants(desk: &mut Desk) -> anyhow::Result<Vec<v1::Grant>> {
    let list = v1::ListGrantsRequest::default();
    Ok(desk
        .client
        .approvals
        .list_grants(list)
        .await?
        .into_inner()
        .grants)
}

#[tokio::test]
async fn an_edited_request_is_what_arrives_and_the_agent_gets_its_answer() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (waiting, asked) = desk.park(&desk.order(820_000)).await?;
    let payload = asked.payload.clone().unwrap_or_default();
    assert_eq!(payload.parts[0].data, br#"{"quantity":820000}"#);
    let edit = v1::DecideApprovalRequest {
        edit: Some(v1::Edit {
            target: format!("{}/orders?dry=no", desk.origin.url()),
            ..body(r#"{"quantity":8}"#)
        }),
        reason: "a hundred thousand too many".to_owned(),
        ..yes(&asked)
    };
    let taken = desk.client.approvals.decide_approval(edit.clone()).await?;
    let taken = taken.into_inner();
    let output = desk.client.result(&waiting.name).await?;
    assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    let received = desk.origin.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].target, "/orders?dry=no");
    assert_eq!(received[0].body, br#"{"quantity":8}"#[..]);

    // The record says what was asked, what was done, and who made the one of the other.
    assert_eq!(taken.state(), State::Cancelled);
    let instead = desk.client.approval(&taken.decisions[0].edited_as).await?;
    assert_eq!(instead.state(), State::Consumed);
    assert_eq!(instead.edited_from, asked.name);
    assert_eq!(instead.decisions[0].principal, "operator");
    assert!(instead.rendering.contains(r#"{"quantity":8}"#));
    // Repeated, it is answered alike and sends nothing.
    let again = desk.client.approvals.decide_approval(edit).await?;
    assert_eq!(again.into_inner().decisions, taken.decisions);
    assert_eq!(desk.origin.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_edit_stays_within_manifest_and_what_can_be_sent() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (_, asked) = desk.park(&desk.order(1)).await?;
    let fields = |headers: Value| v1::Edit {
        fields: json!({ "headers": headers }).to_string(),
        ..v1::Edit::default()
    };
    let target = |target: String| v1::Edit {
        target,
        ..v1::Edit::default()
    };
    for edit in [
        target("https://elsewhere.example.com/orders".to_owned()),
        target(format!("{}/../orders", desk.origin.url())),
        v1::Edit {
            verb: "DELETE".to_owned(),
            ..v1::Edit::default()
        },
        fields(json!(["host: elsewhere.example.com"])),
        fields(json!(["content-type: application/json", "a: b\r\nc: d"])),
        fields(json!([["content-type", "application/json"]])),
        v1::Edit {
            fields: "no JSON".to_owned(),
            ..v1::Edit::default()
        },
        v1::Edit::default(),
    ] {
        let shown = format!("{edit:?}");
        let request = v1::DecideApprovalRequest {
            edit: Some(edit),
            ..yes(&asked)
        };
        let refused = desk.client.approvals.decide_approval(request).await;
        let refused = refused.expect_err(&shown);
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{shown}");
    }
    let open = desk.client.approval(&asked.name).await?;
    assert_eq!((open.state(), open.decisions.len()), (State::Pending, 0));
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_value_and_a_peer_s_input_can_be_edited() -> anyhow::Result<()> {
    let policy = r#"
        @id("rest") permit (principal, action in [Action::"read", Action::"publish"], resource);
        @id("ask") permit (principal, action == Action::"internal", resource) when { context.approvals >= 1 };
    "#;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("policy.cedar");
    std::fs::write(&file, policy)?;
    let host = Host::builder()
        .config(&format!("[approvals]\npolicy = {file:?}"))
        .start()?;
    let mut client = host.operator().await?;
    let permissions = [probe::memory("notes"), probe::peer("clerk")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("boss", &permissions))
        .await?;
    client.deploy(&probe::component("clerk", &[])).await?;
    let part = |name: &str, media_type: &str, data: &str| v1::Edit {
        parts: vec![v1::PayloadPart {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            data: data.as_bytes().to_vec(),
        }],
        replace_parts: true,
        ..v1::Edit::default()
    };

    let put = json!([
        { "call": "memory.space.open", "name": "notes", "access": "read-write", "as": "m" },
        { "call": "memory.space.put", "on": "m", "key": "k", "value": "as asked" },
    ]);
    let waiting = client.invoke("boss", &put).await?;
    let asked = client.approval(&waiting.approvals[0]).await?;
    let edit = v1::DecideApprovalRequest {
        edit: Some(part("value", "application/octet-stream", "as edited")),
        ..yes(&asked)
    };
    client.approvals.decide_approval(edit).await?;
    client.result(&waiting.name).await?;
    let get = v1::GetEntryRequest {
        name: "spaces/notes/entries/k".to_owned(),
    };
    assert_eq!(
        client.memory.get_entry(get).await?.into_inner().value,
        b"as edited"
    );

    let call = json!([
        { "call": "bus.peer.find", "name": "clerk", "as": "b" },
        { "call": "bus.peer.call", "on": "b", "input": [], "as": "c" },
        { "call": "bus.pending.wait", "on": "c" },
    ]);
    let waiting = client.invoke("boss", &call).await?;
    let asked = client.approval(&waiting.approvals[0]).await?;
    let edit = v1::DecideApprovalRequest {
        edit: Some(part(
            "input",
            "application/json",
            r#"[{"call":"config.get"}]"#,
        )),
        ..yes(&asked)
    };
    client.approvals.decide_approval(edit).await?;
    let output = client.result(&waiting.name).await?;
    let reply = output[2]["ok"]["output"].as_str().unwrap_or_default();
    assert!(reply.contains("green"), "{output}");
    Ok(())
}

#[tokio::test]
async fn a_remembered_yes_is_shown_before_listed_and_withdrawn() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let rpc = |desk: &Desk, method: &str, id: u32| {
        probe::post(
            &desk.origin.url(),
            "/rpc",
            &json!({ "method": method, "id": id }),
        )
    };
    let (waiting, asked) = desk.park(&rpc(&desk, "place", 1)).await?;
    assert_eq!(asked.suggestions.len(), 2, "{:?}", asked.suggestions);
    assert!(
        asked.suggestions[1]
            .summary
            .contains(r#"/method of the body is "place""#)
    );
    let answer = desk
        .client
        .approvals
        .decide_approval(remember(&asked, 2))
        .await?;
    desk.client.result(&waiting.name).await?;
    let granted = grants(&mut desk).await?.remove(0);
    assert_eq!(granted.name, answer.into_inner().decisions[0].grant);
    assert_eq!(granted.summary, asked.suggestions[1].summary);
    assert_eq!((granted.uses, granted.uses_left), (0, 100));
    assert!(granted.expire_time.is_some());

    // What was shown is answered, and nothing beside it.
    let steps = rpc(&desk, "place", 2);
    let output = desk.client.output("trader", &json!(steps)).await?;
    assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    let (_, other) = desk.park(&rpc(&desk, "withdraw", 3)).await?;
    assert_eq!(grants(&mut desk).await?[0].uses, 1);
    let events = v1::ListEventsRequest {
        page_size: 1000,
        ..v1::ListEventsRequest::default()
    };
    let events = desk.client.audit.list_events(events).await?.into_inner();
    let id = granted.name.trim_start_matches("grants/");
    let named = events
        .events
        .iter()
        .filter(|event| event.kind == "effect_started" && event.detail.contains(id));
    assert_eq!(named.count(), 1, "the trail names the grant");

    let listed = desk.host.nexus(&["grants", "list", "--output", "json"])?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    assert_eq!(
        listed["grants"][0]["name"],
        granted.name.as_str(),
        "{listed}"
    );
    let revoked = desk.host.nexus(&["grants", "revoke", id])?;
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(grants(&mut desk).await?.is_empty());
    desk.park(&rpc(&desk, "place", 4)).await?;
    let delete = v1::DeleteGrantRequest { name: granted.name };
    let gone = desk.client.approvals.delete_grant(delete).await;
    assert_eq!(gone.expect_err("withdrawn").code(), tonic::Code::NotFound);
    desk.client.decide(&other.name, Verdict::Deny).await?;
    Ok(())
}

#[tokio::test]
async fn a_remembered_no_is_told_to_the_agent_with_its_reason() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (waiting, asked) = desk.park(&desk.order(1)).await?;
    let never = v1::DecideApprovalRequest {
        verdict: Verdict::Deny.into(),
        reason: "never on a Sunday".to_owned(),
        ..remember(&asked, 1)
    };
    desk.client.approvals.decide_approval(never).await?;
    desk.client.result(&waiting.name).await?;
    let output = desk.client.output("trader", &json!(desk.order(1))).await?;
    assert_eq!(last(&output)["error"], "denied", "{output}");
    let words = last(&output)["text"].as_str().unwrap_or_default();
    assert!(words.contains("never on a Sunday"), "{words}");
    desk.park(&desk.order(2)).await?;
    assert!(desk.origin.received().is_empty());

    let (_, asked) = desk.park(&desk.order(3)).await?;
    let refused = desk
        .client
        .approvals
        .decide_approval(remember(&asked, 9))
        .await;
    assert_eq!(
        reason(&refused.expect_err("no such suggestion")),
        "NOT_REMEMBERED"
    );
    Ok(())
}

#[tokio::test]
async fn the_command_line_edits_remembers_and_decides_identical_ones() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (waiting, asked) = desk.park(&desk.order(5)).await?;
    let id = asked.name.trim_start_matches("approvals/").to_owned();
    let directory = tempfile::tempdir()?;
    let edit = directory.path().join("edit.json");
    std::fs::write(
        &edit,
        json!({ "parts": { "body": "{\"quantity\":4}" } }).to_string(),
    )?;
    let edit = edit.to_string_lossy().into_owned();
    let done = desk.host.nexus(&[
        "approvals",
        "approve",
        &id,
        "--yes",
        "--edit",
        &edit,
        "--output",
        "json",
    ])?;
    assert!(done.status.success(), "{done:?}");
    let instead: Value = serde_json::from_slice(&done.stdout)?;
    assert_eq!(instead["editedFrom"], asked.name.as_str(), "{instead}");
    desk.client.result(&waiting.name).await?;
    assert_eq!(desk.bodies(), [r#"{"quantity":4}"#]);

    // Three that ask for the same: one is shown, with two more behind it.
    let mut steps = Vec::new();
    for name in ["a", "b", "c"] {
        let body = json!({ "call": "http.request.body", "value": "same" });
        steps.extend(probe::sending(
            name,
            &desk.origin.url(),
            "post",
            "/orders",
            &[body],
        ));
    }
    steps.extend(["a", "b", "c"].map(probe::waiting));
    let started = desk.start(&steps).await?;
    // They reach the disk beside each other, so they may be heard of in any order.
    let (mut shown, mut queued) = (None, 0);
    while shown.is_none() || queued < 2 {
        let found = desk
            .approvals
            .find(|found| found.invocation == started.name);
        let found = found.await?;
        match found.state() {
            State::Pending => shown = Some(found),
            State::Queued => queued += 1,
            _ => {}
        }
    }
    let shown = shown.expect("the loop ends with one");
    let id = shown.name.trim_start_matches("approvals/").to_owned();
    let text = desk.host.nexus(&["approvals", "show", &id])?;
    let text = String::from_utf8(text.stdout)?;
    assert!(text.contains("2 more requests like this wait"), "{text}");
    assert!(text.contains("last hour"), "{text}");
    assert!(text.contains("--remember N"), "{text}");
    let done = desk.host.nexus(&[
        "approvals",
        "approve",
        &id,
        "--yes",
        "--identical",
        "--remember",
        "1",
        "--for",
        "1h",
        "--uses",
        "1",
    ])?;
    assert!(done.status.success(), "{done:?}");
    desk.client.result(&started.name).await?;
    assert_eq!(desk.bodies()[1..], ["same", "same", "same"]);
    let kept = grants(&mut desk).await?.remove(0);
    assert_eq!(kept.uses_left, 1);
    Ok(())
}

#[tokio::test]
async fn who_decides_sees_how_often_the_agent_asks() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    for number in 1..=3 {
        let (waiting, asked) = desk.park(&desk.order(number)).await?;
        let verdict = if number == 2 {
            Verdict::Deny
        } else {
            Verdict::Approve
        };
        desk.client.decide(&asked.name, verdict).await?;
        desk.client.result(&waiting.name).await?;
    }
    let (_, asked) = desk.park(&desk.order(4)).await?;
    let rate = asked.ask_rate.unwrap_or_default();
    // One of them was its publication.
    assert_eq!((rate.asked, rate.approved, rate.denied), (5, 3, 1));
    Ok(())
}
