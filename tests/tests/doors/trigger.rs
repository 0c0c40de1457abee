//! What was built while hot reload was off, and is then wanted all the same.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::Detail;
use nexus_proto::v1::forged_agent::State as Forged;
use nexus_proto::v1::trigger_hot_reload_response::State;
use nexus_tests::client::reason;
use nexus_tests::{Client, Host};
use serde_json::json;
use tonic::{Code, Status};

use super::{agent, forge, forging};

async fn trigger(client: &mut Client, name: &str) -> Result<v1::TriggerHotReloadResponse, Status> {
    let request = v1::TriggerHotReloadRequest {
        name: format!("agents/{name}"),
        ..v1::TriggerHotReloadRequest::default()
    };
    Ok(client.forge.trigger_hot_reload(request).await?.into_inner())
}

async fn listed(client: &mut Client) -> Result<Vec<(String, Forged)>, Status> {
    let list = v1::ListForgedAgentsRequest::default();
    let all = client.forge.list_forged_agents(list).await?.into_inner();
    let all = all.forged_agents.into_iter();
    Ok(all
        .map(|forged| (forged.agent.clone(), forged.state()))
        .collect())
}

#[tokio::test]
async fn what_was_built_while_hot_reload_was_off_goes_live_when_it_is_triggered()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let off = v1::SetHotReloadRequest { enabled: false };
    operator.forge.set_hot_reload(off).await?;
    let events = forge(&mut bob, forging("held", "")).await?;
    let last = events.last().and_then(|event| event.detail.clone());
    assert!(matches!(last, Some(Detail::NotPublished(_))), "{last:?}");
    let absent = agent(&mut operator, "held").await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);

    // The switch is the operator's; so is the way around it.
    let refused = trigger(&mut bob, "held").await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    let live = trigger(&mut operator, "held").await?;
    assert_eq!(live.state(), State::Live, "{live:?}");
    let forged = live.forged_agent.unwrap();
    assert_eq!(forged.state(), Forged::Published);
    assert_eq!(live.agent.as_ref().unwrap().owner, "bob");
    assert_eq!(
        live.agent.unwrap().component_digest,
        forged.component_digest
    );
    assert_eq!(
        operator.output("held", &json!({ "a": 1 })).await?,
        json!({ "a": 1 })
    );
    let all = listed(&mut operator).await?;
    assert_eq!(all, [("agents/held".to_owned(), Forged::Published)]);
    let list = v1::ListEventsRequest {
        page_size: 1_000,
        agent: "agents/held".to_owned(),
        ..v1::ListEventsRequest::default()
    };
    let trail = operator.audit.list_events(list).await?.into_inner().events;
    let asked = trail
        .iter()
        .find(|event| event.kind == "request_received")
        .unwrap();
    assert_eq!(asked.principal, "operator");
    assert!(asked.detail.contains("trigger"), "{asked:?}");

    // Again, and nothing changes.
    let again = trigger(&mut operator, "held").await?;
    assert_eq!(again.state(), State::Live);
    assert_eq!(again.agent.unwrap().generation, 1);
    let nothing = trigger(&mut operator, "nothing").await.unwrap_err();
    assert_eq!(nothing.code(), Code::NotFound, "{nothing:?}");
    Ok(())
}

#[tokio::test]
async fn a_triggered_component_that_asks_for_something_waits_for_a_person() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let off = v1::SetHotReloadRequest { enabled: false };
    operator.forge.set_hot_reload(off).await?;
    let set = [("origin".to_owned(), "https://api.example.com".to_owned())];
    let request = v1::ForgeAgentRequest {
        agent_id: "priced".to_owned(),
        words: "the price".to_owned(),
        template: "http-write".to_owned(),
        set: set.into(),
        ..v1::ForgeAgentRequest::default()
    };
    forge(&mut bob, request).await?;
    let review = trigger(&mut operator, "priced").await?;
    assert_eq!(review.state(), State::Review, "{review:?}");
    assert_eq!(review.permissions.len(), 2);
    let approval = operator.approval(&review.approval).await?;
    assert!(
        approval.rendering.contains("https://api.example.com"),
        "{}",
        approval.rendering
    );
    let accept = v1::AcceptAgentRequest {
        name: "agents/priced".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let accepted = operator.agents.accept_agent(accept).await?.into_inner();
    assert_eq!(accepted.owner, "bob");
    let again = trigger(&mut operator, "priced").await?;
    assert_eq!(again.state(), State::Live, "{again:?}");
    Ok(())
}
