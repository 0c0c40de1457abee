//! How many people, and which.

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_tests::client::reason;
use nexus_tests::origin::Origin;
use nexus_tests::{Host, probe};
use serde_json::json;

use crate::desk::{Desk, SHIPPED, last};

const FOUR_EYES: &str = r#"
    @id("orders-need-two")
    forbid (principal, action == Action::"external", resource)
    when { context.approvals < 2 };
"#;

#[tokio::test]
async fn four_eyes_are_two_people_and_one_person_twice_is_one() -> anyhow::Result<()> {
    let mut desk = Desk::with("").await?;
    desk.set(&format!("{SHIPPED}{FOUR_EYES}")).await?;
    let waiting = desk.client.invoke("trader", &desk.order()).await?;
    let name = &waiting.approvals[0];
    let asked = desk.client.approval(name).await?;
    ensure!(asked.required_approvals == 2, "{asked:?}");
    ensure!(
        asked.policies.contains(&"orders-need-two".to_owned()),
        "{asked:?}"
    );

    let mut anna = desk.host.client("anna", v1::Role::Approver).await?;
    // Another token of the same person is the same person.
    let mut anna_again = desk.host.client("anna", v1::Role::Approver).await?;
    let mut bert = desk.host.client("bert", v1::Role::Approver).await?;
    for client in [&mut anna, &mut anna_again] {
        let decided = client.decide(name, Verdict::Approve).await?;
        ensure!(decided.state() == State::Pending, "{decided:?}");
        ensure!(decided.decisions.len() == 1, "{decided:?}");
    }
    ensure!(
        desk.origin.received().is_empty(),
        "one person is not enough"
    );
    bert.decide(name, Verdict::Approve).await?;
    let output = desk.client.result(&waiting.name).await?;
    ensure!(last(&output).get("ok").is_some(), "{output}");
    ensure!(desk.origin.received().len() == 1);

    // One no is enough.
    let waiting = desk.client.invoke("trader", &desk.order()).await?;
    anna.decide(&waiting.approvals[0], Verdict::Approve).await?;
    bert.decide(&waiting.approvals[0], Verdict::Deny).await?;
    let output = desk.client.result(&waiting.name).await?;
    ensure!(last(&output)["error"] == "denied", "{output}");
    ensure!(desk.origin.received().len() == 1);
    Ok(())
}

#[tokio::test]
async fn by_itself_a_host_wants_another_pair_of_eyes_once_there_is_one() -> anyhow::Result<()> {
    let origin = Origin::json(json!({ "done": true })).await?;
    let host = Host::builder()
        .config(&format!(
            "[egress]\nprivate_origins = [{:?}]\n[approvals]\nself_approval = \"auto\"",
            origin.url()
        ))
        .start()?;
    let mut client = host.operator().await?;
    // Who decides nothing is no pair of eyes.
    host.client("bot", v1::Role::Caller).await?;
    client
        .deploy(&probe::component("trader", &[&probe::http(&origin.url())]))
        .await?;
    let order = json!(probe::post(&origin.url(), "/orders", &json!({ "n": 1 })));
    let waiting = client.invoke("trader", &order).await?;
    client
        .decide(&waiting.approvals[0], Verdict::Approve)
        .await?;
    client.result(&waiting.name).await?;

    let mut anna = host.client("anna", v1::Role::Approver).await?;
    let waiting = client.invoke("trader", &order).await?;
    let name = &waiting.approvals[0];
    let own = client.decide(name, Verdict::Approve).await;
    let own = own.err().map(|status| reason(&status));
    ensure!(own.as_deref() == Some("SELF_APPROVAL"), "{own:?}");
    anna.decide(name, Verdict::Approve).await?;
    client.result(&waiting.name).await?;
    ensure!(origin.received().len() == 2);

    // When she has gone, one is alone again.
    let list = v1::ListTokensRequest::default();
    let tokens = client.system.list_tokens(list).await?.into_inner().tokens;
    let hers = tokens.into_iter().find(|token| token.principal == "anna");
    let revoke = v1::RevokeTokenRequest {
        name: hers.context("her token")?.name,
        ..v1::RevokeTokenRequest::default()
    };
    client.system.revoke_token(revoke).await?;
    let waiting = client.invoke("trader", &order).await?;
    client
        .decide(&waiting.approvals[0], Verdict::Approve)
        .await?;
    client.result(&waiting.name).await?;
    Ok(())
}

#[tokio::test]
async fn where_self_approval_is_off_nobody_approves_what_they_began() -> anyhow::Result<()> {
    let mut desk = Desk::with("self_approval = false").await?;
    let waiting = desk.client.invoke("trader", &desk.order()).await?;
    let name = &waiting.approvals[0];
    let own = desk.client.decide(name, Verdict::Approve).await;
    let own = own.err().map(|status| reason(&status));
    ensure!(own.as_deref() == Some("SELF_APPROVAL"), "{own:?}");
    let mut anna = desk.host.client("anna", v1::Role::Approver).await?;
    anna.decide(name, Verdict::Approve).await?;
    desk.client.result(&waiting.name).await?;
    ensure!(desk.origin.received().len() == 1);
    Ok(())
}
