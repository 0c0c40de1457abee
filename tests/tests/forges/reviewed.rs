//! Permissions as a difference: what is more than before is a person's to allow, however it comes.

use nexus_proto::v1;
use nexus_proto::v1::deploy_agent_response::State as Deployed;
use nexus_proto::v1::forge_event::{Detail, FailureReason};
use nexus_tests::{Client, Host, client::reason, guests};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{agent, forging, manifest, watch};

/// Any number of peers is free. The guest imports the bus and nothing else.
fn caller(peers: &[&str]) -> Vec<u8> {
    let mut text = "format = 1\nname = \"caller\"\nversion = \"0.1.0\"\nsummary = \"Calls\"\ntags = [\"test\"]\n".to_owned();
    for peer in peers {
        text.push_str(&format!("[[permission]]\npeer = {{ agent = {peer:?} }}\n"));
    }
    guests::with_manifest("caller", &text)
}

async fn upload(client: &mut Client, peers: &[&str]) -> Result<v1::DeployAgentResponse, Status> {
    client.upload(&caller(peers), Default::default()).await
}

fn lines(permissions: &[v1::Permission]) -> Vec<&str> {
    let lines = permissions.iter();
    lines
        .map(|permission| permission.display.as_str())
        .collect()
}

async fn rollback(
    client: &mut Client,
    generation: u64,
    permissions_digest: &str,
) -> Result<v1::Agent, Status> {
    let request = v1::RollbackAgentRequest {
        name: "agents/caller".to_owned(),
        generation,
        permissions_digest: permissions_digest.to_owned(),
        ..v1::RollbackAgentRequest::default()
    };
    Ok(client.agents.rollback_agent(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_widens_is_shown_as_a_difference_and_asked_though_it_is_free() -> anyhow::Result<()> {
    // Even a policy that lets everything be published.
    let directory = tempfile::tempdir()?;
    let policy = directory.path().join("policy.cedar");
    std::fs::write(
        &policy,
        "@id(\"open\") permit (principal, action, resource);",
    )?;
    let config = format!("[approvals]\npolicy = {policy:?}");
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let first = upload(&mut client, &["one", "two"]).await?;
    assert_eq!(first.state(), Deployed::Live);
    // The very same is no new generation; with less, nobody is asked.
    for peers in [&["one", "two"][..], &["one"]] {
        assert_eq!(upload(&mut client, peers).await?.state(), Deployed::Live);
    }

    let wider = upload(&mut client, &["one", "three"]).await?;
    assert_eq!(wider.state(), Deployed::Review);
    // What was uploaded has no source here.
    let id = wider.approval.trim_start_matches("approvals/");
    let shown = host.nexus(&["approvals", "show", id, "--source"])?;
    assert_eq!((shown.status.code(), shown.stdout.len()), (Some(2), 0));
    let diff = wider.permission_diff.clone().unwrap();
    assert!(diff.widens);
    assert_eq!(diff.from_generation, 2);
    assert_eq!(lines(&diff.added), ["peer three"]);
    assert!(diff.removed.is_empty() && diff.changed.is_empty());
    let shown = client.approval(&wider.approval).await?;
    for line in [
        "permissions[0]: \"peer one\"",
        "permissions[1]: \"peer three\"",
        "permissions_added[0]: \"peer three\"",
        "compared_with_generation: 2",
        "widens: true",
        "asked by policy: open, gate:widened-permissions",
    ] {
        assert!(shown.rendering.contains(line), "{}", shown.rendering);
    }
    assert_eq!(agent(&mut client, "caller").await?.generation, 2);
    let accept = v1::AcceptAgentRequest {
        name: "agents/caller".to_owned(),
        permissions_digest: wider.permissions_digest,
    };
    let live = client.agents.accept_agent(accept).await?.into_inner();
    assert_eq!(live.generation, 3);

    let request = v1::DiffGenerationsRequest {
        name: "agents/caller".to_owned(),
        from_generation: 1,
        ..v1::DiffGenerationsRequest::default()
    };
    let between = client.agents.diff_generations(request).await?.into_inner();
    let diff = between.permission_diff.unwrap();
    assert_eq!(lines(&diff.added), ["peer three"]);
    assert_eq!(lines(&diff.removed), ["peer two"]);
    assert_eq!((between.from.unwrap().generation, diff.widens), (1, true));
    let output = host.nexus(&["agents", "diff", "caller", "1", "2"])?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains("- peer two"), "{text}");
    assert!(!text.contains("may do more"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_widens_needs_the_same_word() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    upload(&mut client, &["one", "two"]).await?;
    let narrow = upload(&mut client, &["one"]).await?;
    assert_eq!(narrow.state(), Deployed::Live);
    let refused = rollback(&mut client, 1, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(reason(&refused), "REVIEW_NEEDED");
    assert_eq!(agent(&mut client, "caller").await?.generation, 2);
    let details = refused.get_error_details();
    let approval = &details.error_info().unwrap().metadata["approval"];
    let asked = client.approval(approval).await?;
    for line in ["permissions_added[0]: \"peer two\"", "mode: \"rollback\""] {
        assert!(asked.rendering.contains(line), "{}", asked.rendering);
    }
    let mut changes = client
        .agents
        .watch_agents(v1::WatchAgentsRequest::default())
        .await?
        .into_inner();
    client.decide(&asked.name, v1::Verdict::Approve).await?;
    let change = changes.message().await?.unwrap();
    assert_eq!(change.change(), v1::agent_event::Change::RolledBack);
    let wide = agent(&mut client, "caller").await?;
    assert_eq!(wide.generation, 1);

    // Back to less is nobody's question; to more again, with the digest that was seen.
    assert_eq!(rollback(&mut client, 2, "").await?.generation, 2);
    let other = rollback(&mut client, 1, &narrow.permissions_digest).await;
    assert_eq!(reason(&other.unwrap_err()), "INVALID_FIELD");
    let again = rollback(&mut client, 1, &wide.permissions_digest).await?;
    assert_eq!(again.generation, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reviewed_against_another_generation_is_not_published() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    upload(&mut client, &["one", "two"]).await?;
    let wider = upload(&mut client, &["one", "two", "three"]).await?;
    assert_eq!(wider.state(), Deployed::Review);
    // Meanwhile the live one is allowed less: the person was shown too small a step.
    assert_eq!(upload(&mut client, &["one"]).await?.state(), Deployed::Live);
    let accept = v1::AcceptAgentRequest {
        name: "agents/caller".to_owned(),
        permissions_digest: wider.permissions_digest,
    };
    let stale = client.agents.accept_agent(accept).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted, "{stale}");
    assert_eq!(reason(&stale), "STALE_REVIEW");
    assert_eq!(agent(&mut client, "caller").await?.generation, 2);
    Ok(())
}

const CALLS_ONE: &str = "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { Ok(bus::peer(\"one\")?.call(&input)?.json()?) }\n";

/// Forges an agent that may call these peers, until a person is asked or it ends.
async fn forge(
    client: &mut Client,
    name: &str,
    peers: &[&str],
    root_origin: v1::RootOrigin,
) -> Result<Detail, Status> {
    let more: String = peers
        .iter()
        .map(|peer| format!("[[permission]]\npeer = {{ agent = {peer:?} }}\n"))
        .collect();
    let request = v1::ForgeAgentRequest {
        source: CALLS_ONE.to_owned(),
        manifest: manifest(name, &more),
        root_origin: root_origin.into(),
        ..forging(name)
    };
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = stream.message().await? {
        last = event.detail;
        if matches!(last, Some(Detail::Review(_))) {
            break;
        }
    }
    last.ok_or_else(|| Status::internal("the forge told nothing"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_shows_the_difference_and_one_that_data_triggered_starts_with_nothing()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let interactive = v1::RootOrigin::Unspecified;
    let first = forge(&mut client, "forged", &["one"], interactive).await?;
    assert!(matches!(first, Detail::Published(_)), "{first:?}");
    let wider = forge(&mut client, "forged", &["one", "two"], interactive).await?;
    let Detail::Review(review) = wider else {
        panic!("{wider:?}");
    };
    let diff = review.permission_diff.unwrap();
    assert_eq!(lines(&diff.added), ["peer two"]);
    assert!(diff.widens);
    let id = review.approval.trim_start_matches("approvals/");
    let shown = host.nexus(&["approvals", "show", id, "--source"])?;
    assert_eq!(String::from_utf8(shown.stdout)?, CALLS_ONE);
    let whole = host.nexus(&["approvals", "show", id])?;
    let whole = String::from_utf8(whole.stdout)?;
    assert!(
        whole.contains(&format!("approvals show {id} --source")),
        "{whole}"
    );
    client.decide(&review.approval, v1::Verdict::Deny).await?;
    let list = v1::ListForgesRequest::default();
    let newest = client.forge.list_forges(list).await?.into_inner().forges;
    let told = watch(&mut client, &newest[0].name, 0).await?;
    let last = told.last().unwrap();
    assert_eq!(last.failure_reason(), FailureReason::Denied, "{last:?}");
    let same = forge(&mut client, "forged", &["one"], interactive).await?;
    assert!(matches!(same, Detail::Published(_)), "{same:?}");

    // Interactive it would be free; no approver waits for data, so it ends unattended.
    let triggered = forge(&mut client, "triggered", &["one"], v1::RootOrigin::Ingest).await?;
    assert!(
        matches!(triggered, Detail::Failure(_) | Detail::Review(_)),
        "{triggered:?}"
    );
    assert!(agent(&mut client, "triggered").await.is_err());
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let refused = forge(&mut bob, "bobs", &["one"], v1::RootOrigin::Schedule).await;
    assert_eq!(reason(&refused.unwrap_err()), "ORIGIN_NOT_ALLOWED");
    Ok(())
}
