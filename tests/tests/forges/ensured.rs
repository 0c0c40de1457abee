use futures::future::try_join_all;
use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_tests::{Client, Host};
use serde_json::json;
use tonic::Code;

use super::stage::{At, bring, model};
use super::{agent, forging};

async fn ensure(
    client: &mut Client,
    forge: v1::ForgeAgentRequest,
) -> Result<v1::EnsureAgentResponse, tonic::Status> {
    let request = v1::EnsureAgentRequest { forge: Some(forge) };
    Ok(client.forge.ensure_agent(request).await?.into_inner())
}

/// Sixty-four who ask at the same time.
async fn at_once(
    host: &Host,
    request: &v1::ForgeAgentRequest,
) -> anyhow::Result<Vec<v1::EnsureAgentResponse>> {
    let client = host.operator().await?;
    let asking = (0..64).map(|_| {
        let mut client = client.clone();
        async move { ensure(&mut client, request.clone()).await }
    });
    Ok(try_join_all(asking).await?)
}

async fn forges(client: &mut Client, name: &str) -> anyhow::Result<Vec<v1::Forge>> {
    let list = v1::ListForgesRequest {
        agent: format!("agents/{name}"),
        ..v1::ListForgesRequest::default()
    };
    Ok(client.forge.list_forges(list).await?.into_inner().forges)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_64_ask_for_at_once_is_forged_once() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let answers = at_once(&host, &forging("needed")).await?;
    let live = agent(&mut client, "needed").await?;
    assert_eq!(live.generation, 1);
    for answer in &answers {
        assert_eq!(answer.agent.as_ref(), Some(&live));
    }
    let forged = forges(&mut client, "needed").await?;
    assert_eq!(forged.len(), 1, "{forged:?}");
    assert_eq!(forged[0].state(), State::Succeeded);
    // Later there is nothing to forge, whatever is asked for.
    let other = v1::ForgeAgentRequest {
        source: "fn".to_owned(),
        ..forging("needed")
    };
    let later = ensure(&mut client, other).await?;
    assert_eq!((later.agent, later.forge), (Some(live), None));
    assert_eq!(
        client.output("needed", &json!(1)).await?,
        json!({ "new": 1 })
    );

    // A forge that fails fails for all of them alike.
    let wrong = v1::ForgeAgentRequest {
        source: "fn".to_owned(),
        ..forging("broken")
    };
    let answers = at_once(&host, &wrong).await?;
    let tried = forges(&mut client, "broken").await?;
    assert!(answers.iter().all(|answer| answer.agent.is_none()));
    for answer in &answers {
        let forge = answer.forge.as_ref().unwrap();
        assert_eq!(forge.state(), State::Failed);
        assert!(tried.contains(forge), "{forge:?}");
    }
    let dry = v1::ForgeAgentRequest {
        validate_only: true,
        ..forging("dry")
    };
    let refused = ensure(&mut client, dry).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_waits_for_a_person_is_joined_and_says_so() -> anyhow::Result<()> {
    let mut model = model(At::Review).await?;
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let (name, _stream) = bring(&mut client, At::Review, &mut model).await?;
    let answers = at_once(&host, &forging("steady")).await?;
    for answer in answers {
        let forge = answer.forge.unwrap();
        assert_eq!(
            (forge.name, forge.state),
            (name.clone(), State::Waiting.into())
        );
        assert!(answer.agent.is_none());
    }
    Ok(())
}
