//! Accepting permissions, of what was uploaded and of what was forged.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, State};
use nexus_tests::client::reason;
use nexus_tests::{Host, probe};
use tonic::Code;

use super::agent;

/// A forge whose agent may send to an origin.
fn sender(name: &str, origin: &str) -> v1::ForgeAgentRequest {
    let set = [("origin", origin), ("path", "/messages"), ("secret", "key")];
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Template.into(),
        template: "http-send".to_owned(),
        set: set
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..v1::ForgeAgentRequest::default()
    }
}

/// Forges until a person is asked.
async fn until_asked(
    client: &mut nexus_tests::Client,
    request: v1::ForgeAgentRequest,
) -> anyhow::Result<(tonic::Streaming<v1::ForgeEvent>, v1::NeedsReview)> {
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    while let Some(event) = stream.message().await? {
        if let Some(Detail::Review(review)) = event.detail.clone() {
            assert_eq!(event.state(), State::Stopped);
            return Ok((stream, review));
        }
        assert_ne!(event.state(), State::Failed, "{event:?}");
    }
    anyhow::bail!("nobody was asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forged_is_accepted_by_the_digest_of_its_permissions() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let request = sender("sender", "https://api.example.com");
    let (mut stream, review) = until_asked(&mut client, request).await?;
    let accept = |digest: &str| v1::AcceptAgentRequest {
        name: "agents/sender".to_owned(),
        permissions_digest: digest.to_owned(),
    };
    // Other permissions than those that wait.
    let other = probe::component("other", &[]);
    let other = client.upload(&other, Default::default()).await?;
    let wrong = client
        .agents
        .accept_agent(accept(&other.permissions_digest));
    let wrong = wrong.await.unwrap_err();
    assert_eq!(wrong.code(), Code::Aborted, "{wrong}");
    assert_eq!(reason(&wrong), "PERMISSIONS_CHANGED");
    let malformed = client.agents.accept_agent(accept("sha256:0")).await;
    assert_eq!(reason(&malformed.unwrap_err()), "INVALID_FIELD");

    let accepted = client
        .agents
        .accept_agent(accept(&review.permissions_digest))
        .await?
        .into_inner();
    assert_eq!(accepted.generation, 1);
    assert_eq!(accepted, agent(&mut client, "sender").await?);
    // The stream has stayed open, and goes on to the end.
    let mut last = None;
    while let Some(event) = stream.message().await? {
        last = Some(event);
    }
    let last = last.unwrap();
    assert_eq!(last.state(), State::Succeeded, "{last:?}");
    assert!(
        matches!(last.detail, Some(Detail::Published(_))),
        "{last:?}"
    );

    // To accept what is live already changes nothing.
    let again = client
        .agents
        .accept_agent(accept(&review.permissions_digest))
        .await?;
    assert_eq!(again.into_inner(), accepted);
    let nothing = client
        .agents
        .accept_agent(accept(&other.permissions_digest));
    assert_eq!(reason(&nothing.await.unwrap_err()), "NO_SUCH_REVIEW");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_while_hot_reload_is_off_is_kept_and_not_published() -> anyhow::Result<()>
{
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let request = sender("sender", "https://api.example.com");
    let (mut stream, review) = until_asked(&mut client, request).await?;
    let off = v1::SetHotReloadRequest { enabled: false };
    client.forge.set_hot_reload(off).await?;
    let accept = v1::AcceptAgentRequest {
        name: "agents/sender".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let refused = client.agents.accept_agent(accept).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(reason(&refused), "HOT_RELOAD_OFF");
    let mut last = None;
    while let Some(event) = stream.message().await? {
        last = Some(event);
    }
    let last = last.unwrap();
    assert!(
        matches!(last.detail, Some(Detail::NotPublished(_))),
        "{last:?}"
    );
    assert_eq!(last.state(), State::Stopped, "{last:?}");
    assert_eq!(
        agent(&mut client, "sender").await.unwrap_err().code(),
        Code::NotFound
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_waits_for_a_person_says_so_to_whoever_calls_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let permissions = [probe::http("https://api.example.com")];
    let component = probe::component("early", &[&permissions[0]]);
    let review = client.upload(&component, Default::default()).await?;
    let call = v1::InvokeAgentRequest {
        name: "agents/early".to_owned(),
        input: "[]".to_owned(),
        ..v1::InvokeAgentRequest::default()
    };
    let early = client.invocations.invoke_agent(call.clone()).await;
    let early = early.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "{early}");
    assert_eq!(reason(&early), "REVIEW_PENDING");
    assert!(early.message().contains(&review.approval), "{early}");
    client
        .decide(&review.approval, v1::Verdict::Approve)
        .await?;
    // The decision is answered before the agent is live; accepting waits for that.
    let accept = v1::AcceptAgentRequest {
        name: "agents/early".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let live = client.agents.accept_agent(accept).await?.into_inner();
    client.invocations.invoke_agent(call).await?;

    // The same bytes again are no new question, and no new generation.
    let again = client.upload(&component, Default::default()).await?;
    assert_eq!(again.state(), v1::deploy_agent_response::State::Live);
    assert_eq!(again.agent.unwrap().generation, live.generation);
    Ok(())
}
