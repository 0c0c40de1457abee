//! Requests that can't be answered.

use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::origin::Origin;
use nexus_tests::{Host, guests, probe};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{host, still_answers};

#[tokio::test]
async fn input_that_breaks_the_schema_is_told_place_by_place() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let manifest = "format = 1\nname = \"strict\"\nversion = \"0.1.0\"\nsummary = \"s\"\n[input]\ntype = \"object\"\nrequired = [\"symbol\"]\nadditionalProperties = false\n[input.properties]\nsymbol = { type = \"string\" }\namount = { type = \"integer\", minimum = 1 }\n";
    client
        .deploy(&guests::with_manifest("echo", manifest))
        .await?;
    let cases = [
        (
            json!({ "symbol": 7, "amount": 0 }),
            vec!["input/amount", "input/symbol"],
        ),
        (json!({}), vec!["input"]),
        (json!({ "symbol": "ETH", "colour": 1 }), vec!["input"]),
        (json!([]), vec!["input"]),
    ];
    for (input, fields) in cases {
        let status = client.invoke("strict", &input).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(reason(&status), "INPUT_SCHEMA", "{status}");
        assert!(status.message().contains("GetAgent"), "{status}");
        let details = status.get_details_bad_request().unwrap();
        let mut told: Vec<_> = details
            .field_violations
            .iter()
            .map(|one| one.field.as_str())
            .collect();
        told.sort_unstable();
        assert_eq!(told, fields, "{input}");
        assert!(
            details
                .field_violations
                .iter()
                .all(|one| !one.description.is_empty())
        );
    }
    for text in ["{", "nul", "{} {}", "\u{feff}{}", "'a'"] {
        let request = v1::InvokeAgentRequest {
            name: "agents/strict".to_owned(),
            input: text.to_owned(),
            ..Default::default()
        };
        let status = client.invocations.invoke_agent(request).await.unwrap_err();
        assert_eq!(reason(&status), "INPUT_SCHEMA", "{text}: {status}");
    }
    assert_eq!(
        client.output("strict", &json!({ "symbol": "ETH" })).await?,
        json!({ "symbol": "ETH" })
    );
    still_answers(&mut client).await
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let nobody = || "agents/nobody".to_owned();
    let mut statuses: Vec<(&str, Status)> = Vec::new();
    statuses.push((
        "invoke",
        client.invoke("nobody", &json!({})).await.unwrap_err(),
    ));
    let get = v1::GetAgentRequest {
        name: nobody(),
        ..Default::default()
    };
    statuses.push(("get", client.agents.get_agent(get).await.unwrap_err()));
    let delete = v1::DeleteAgentRequest {
        name: nobody(),
        ..Default::default()
    };
    statuses.push((
        "delete",
        client.agents.delete_agent(delete).await.unwrap_err(),
    ));
    let rollback = v1::RollbackAgentRequest {
        name: nobody(),
        ..Default::default()
    };
    statuses.push((
        "roll back",
        client.agents.rollback_agent(rollback).await.unwrap_err(),
    ));
    let generations = v1::ListGenerationsRequest {
        parent: nobody(),
        ..Default::default()
    };
    statuses.push((
        "generations",
        client
            .agents
            .list_generations(generations)
            .await
            .unwrap_err(),
    ));
    let invocation = "invocations/inv-01890000-0000-7000-8000-000000000000";
    statuses.push((
        "invocation",
        client.invocation(invocation).await.unwrap_err(),
    ));
    let approval = "approvals/apr-01890000-0000-7000-8000-000000000000";
    statuses.push(("approval", client.approval(approval).await.unwrap_err()));
    statuses.push((
        "decide",
        client
            .decide(approval, v1::Verdict::Approve)
            .await
            .unwrap_err(),
    ));
    let secret = v1::DeleteSecretRequest {
        name: "secrets/nothing".to_owned(),
        ..Default::default()
    };
    statuses.push((
        "secret",
        client.vault.delete_secret(secret).await.unwrap_err(),
    ));
    let entry = v1::GetEntryRequest {
        name: "spaces/kb/entries/nothing".to_owned(),
    };
    statuses.push(("entry", client.memory.get_entry(entry).await.unwrap_err()));
    let token = v1::RevokeTokenRequest {
        name: "tokens/nothing".to_owned(),
        grace: None,
    };
    statuses.push((
        "token",
        client.system.revoke_token(token).await.unwrap_err(),
    ));
    for (what, status) in statuses {
        assert_eq!(status.code(), Code::NotFound, "{what}: {status}");
        assert_eq!(reason(&status), "NOT_FOUND", "{what}: {status}");
        assert!(!status.message().is_empty());
    }
    still_answers(&mut client).await
}

#[tokio::test]
async fn names_tokens_and_sizes_that_are_none_are_refused() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let long = "a".repeat(10_000);
    for name in [
        "",
        "echo",
        "agents/",
        "agents/Echo",
        "agents/a/b",
        "agents/../x",
        "agents/é",
        "tools/echo",
        &long,
    ] {
        let get = v1::GetAgentRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let status = client.agents.get_agent(get).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
        assert!(
            status.get_details_bad_request().is_some(),
            "{name}: {status}"
        );
        assert!(status.message().len() < 1_000, "{}", status.message().len());
    }
    for page_token in ["garbage!", "Z2FyYmFnZQ==", "////", "\u{1b}[2J", &long] {
        let page = |page_token: &str| page_token.to_owned();
        let mut statuses = Vec::new();
        let invocations = v1::ListInvocationsRequest {
            page_token: page(page_token),
            ..Default::default()
        };
        statuses.push(client.invocations.list_invocations(invocations).await.err());
        let approvals = v1::ListApprovalsRequest {
            page_token: page(page_token),
            ..Default::default()
        };
        statuses.push(client.approvals.list_approvals(approvals).await.err());
        let events = v1::ListEventsRequest {
            page_token: page(page_token),
            ..Default::default()
        };
        statuses.push(client.audit.list_events(events).await.err());
        for status in statuses {
            let status = status.unwrap_or_else(|| panic!("{page_token:?} was taken"));
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{page_token:?}: {status}"
            );
            assert!(status.message().contains("next_page_token"), "{status}");
        }
    }
    let negative = v1::ListAgentsRequest {
        page_size: -1,
        ..Default::default()
    };
    let status = client.agents.list_agents(negative).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    still_answers(&mut client).await
}

#[tokio::test]
async fn a_second_decision_changes_nothing_and_says_what_was_decided() -> anyhow::Result<()> {
    let origin = Origin::json(json!({ "id": 1 })).await?;
    let config = format!("[egress]\nprivate_origins = [\"{}\"]\n", origin.url());
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    client
        .deploy(&probe::component("writer", &[&probe::http(&origin.url())]))
        .await?;
    let write = Value::from(probe::post(&origin.url(), "/orders", &json!({ "n": 1 })));
    let waiting = client.invoke("writer", &write).await?;
    let approval = waiting.approvals[0].clone();
    client.decide(&approval, v1::Verdict::Deny).await?;
    let status = client
        .decide(&approval, v1::Verdict::Approve)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(!status.message().is_empty());
    client.ended(&waiting.name).await?;
    assert!(
        origin.received().is_empty(),
        "the second answer did not count"
    );
    let undecided = v1::DecideApprovalRequest {
        name: approval,
        ..Default::default()
    };
    let status = client
        .approvals
        .decide_approval(undecided)
        .await
        .unwrap_err();
    assert!(
        matches!(
            status.code(),
            Code::InvalidArgument | Code::FailedPrecondition
        ),
        "{status}"
    );
    Ok(())
}
