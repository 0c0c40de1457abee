//! T18: once a switch is off, nothing goes live, whatever was under way.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, Stage};
use nexus_tests::client::reason;
use nexus_tests::{Client, Host, amount, guests};
use tonic::Status;

use super::{engage, events, told};

/// How many publications are under way when the switch is thrown.
const UPLOADS: usize = 100;

fn agent(name: &str) -> Vec<u8> {
    let manifest = include_str!("../../agents/echo/agent.toml");
    guests::with_manifest("echo", &manifest.replace("\"echo\"", &format!("{name:?}")))
}

async fn live(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let mut request = v1::ListAgentsRequest {
        page_size: 1_000,
        ..v1::ListAgentsRequest::default()
    };
    let mut names = Vec::new();
    loop {
        let page = client
            .agents
            .list_agents(request.clone())
            .await?
            .into_inner();
        names.extend(page.agents.into_iter().map(|agent| agent.name));
        if page.next_page_token.is_empty() {
            return Ok(names);
        }
        request.page_token = page.next_page_token;
    }
}

/// Publications in the trail before and after the one event of a kind.
fn published(trail: &[v1::Event], switch: &str) -> (usize, usize) {
    let at = trail.iter().position(|event| event.kind == switch).unwrap();
    let count = |events: &[v1::Event]| {
        let published = events
            .iter()
            .filter(|event| event.kind == "generation_published");
        published.count()
    };
    (count(&trail[..at]), count(&trail[at..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_no_upload_goes_live_once_the_lock_is_acknowledged() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&agent("first")).await?;
    let uploads: Vec<_> = (0..UPLOADS)
        .map(|number| {
            let mut client = client.clone();
            let component = agent(&format!("upload-{number}"));
            tokio::spawn(async move {
                let metadata = v1::DeployAgentMetadata::default();
                client.upload(&component, metadata).await
            })
        })
        .collect();
    // One of the hundred is live, the others are on their way.
    let first = events(&mut client).await?;
    let first = first
        .iter()
        .find(|event| event.kind == "generation_published");
    told(&mut client, "generation_published", first.unwrap().sequence).await?;
    assert!(engage(&mut client, "enough").await?.engaged);
    let acknowledged = live(&mut client).await?;

    let (mut accepted, mut refused) = (1, 0);
    for upload in uploads {
        match upload.await? {
            Ok(_) => accepted += 1,
            Err(status) => {
                let told: &Status = &status;
                assert!(
                    ["LOCKED", "FORBIDDEN", "PERMIT_VOID"].contains(&reason(told).as_str()),
                    "{told}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "all {accepted} were faster than the lock");
    assert_eq!(live(&mut client).await?, acknowledged);
    assert_eq!(acknowledged.len(), accepted);
    let trail = events(&mut client).await?;
    assert_eq!(published(&trail, "lock_engaged"), (accepted, 0));
    Ok(())
}

/// How a forge ended: whether it went live, or was built and held.
async fn forged(client: &mut Client, name: &str) -> anyhow::Result<bool> {
    let request = v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { Ok(input) }\n".to_owned(),
        manifest: format!("format = 1\nname = {name:?}\nversion = \"0.1.0\"\nsummary = \"Answers\"\n"),
        ..v1::ForgeAgentRequest::default()
    };
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = stream.message().await? {
        last = Some(event);
    }
    let last = last.unwrap();
    assert_eq!(last.stage(), Stage::Publish, "{last:?}");
    match &last.detail {
        Some(Detail::Published(_)) => Ok(true),
        Some(Detail::NotPublished(_)) => Ok(false),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_no_forged_agent_goes_live_once_hot_reload_is_off() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let forges: Vec<_> = (0..amount(6, 100))
        .map(|number| {
            let mut client = client.clone();
            tokio::spawn(async move { forged(&mut client, &format!("forged-{number}")).await })
        })
        .collect();
    told(&mut client, "generation_published", 0).await?;
    let off = v1::SetHotReloadRequest { enabled: false };
    assert!(!client.forge.set_hot_reload(off).await?.into_inner().enabled);
    let acknowledged = live(&mut client).await?;
    let (mut published_ones, mut held) = (0, 0);
    for forge in forges {
        match forge.await?? {
            true => published_ones += 1,
            false => held += 1,
        }
    }
    assert!(held > 0, "all were faster than the switch");
    assert_eq!(live(&mut client).await?, acknowledged);
    let trail = events(&mut client).await?;
    assert_eq!(published(&trail, "hot_reload_set"), (published_ones, 0));
    Ok(())
}

/// The request for an agent that a person has to accept.
fn asking(name: &str) -> v1::ForgeAgentRequest {
    let permission = "[[permission]]\nhttp = { origin = \"https://a.example.com\", methods = [\"POST\"], paths = [\"/orders\"] }\n";
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { http::post(\"https://a.example.com/orders\").json(&input).send()?; Ok(input) }\n".to_owned(),
        manifest: format!("format = 1\nname = {name:?}\nversion = \"0.1.0\"\nsummary = \"Orders\"\n{permission}"),
        ..v1::ForgeAgentRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_no_way_of_a_forge_leads_past_the_switch() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    // One has come to the person when the switch is thrown.
    let stream = client.forge.forge_agent(asking("asking")).await?;
    let mut waiting = stream.into_inner();
    let approval = loop {
        let event = waiting.message().await?.unwrap();
        if let Some(Detail::Review(review)) = event.detail {
            break review.approval;
        }
    };
    let off = v1::SetHotReloadRequest { enabled: false };
    client.forge.set_hot_reload(off).await?;
    let acknowledged = live(&mut client).await?;
    client.decide(&approval, v1::Verdict::Approve).await?;
    let mut last = None;
    while let Some(event) = waiting.message().await? {
        last = event.detail;
    }
    assert!(matches!(last, Some(Detail::NotPublished(_))), "{last:?}");

    // Others begin only then: for whoever needs the agent, and for data that came.
    let plain = |name: &str| {
        v1::ForgeAgentRequest {
        source: "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { Ok(input) }\n".to_owned(),
        manifest: format!("format = 1\nname = {name:?}\nversion = \"0.1.0\"\nsummary = \"Answers\"\n"),
        ..asking(name)
    }
    };
    let ensure = v1::EnsureAgentRequest {
        forge: Some(plain("needed")),
    };
    let ensured = client.forge.ensure_agent(ensure).await?.into_inner();
    assert!(ensured.agent.is_none(), "{ensured:?}");
    assert_eq!(ensured.forge.unwrap().state(), v1::forge::State::Held);
    for root in [v1::RootOrigin::Ingest, v1::RootOrigin::Schedule] {
        let request = v1::ForgeAgentRequest {
            root_origin: root.into(),
            ..plain("arrived")
        };
        let mut stream = client.forge.forge_agent(request).await?.into_inner();
        let mut last = None;
        while let Some(event) = stream.message().await? {
            last = event.detail;
        }
        assert!(matches!(last, Some(Detail::NotPublished(_))), "{last:?}");
    }
    assert_eq!(live(&mut client).await?, acknowledged);
    assert!(acknowledged.is_empty(), "{acknowledged:?}");
    let trail = events(&mut client).await?;
    assert_eq!(published(&trail, "hot_reload_set"), (0, 0));
    Ok(())
}
