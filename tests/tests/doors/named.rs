//! Requests that their clients have named: done once, whatever is repeated.

use futures::future::try_join_all;
use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, State};
use nexus_tests::Host;
use nexus_tests::client::reason;
use tonic::Code;

use super::{agent, echo, forge, forging, recorded};

fn named(id: &str) -> v1::DeployAgentMetadata {
    v1::DeployAgentMetadata {
        request_id: id.to_owned(),
        ..v1::DeployAgentMetadata::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_upload_is_deployed_once_and_answered_the_same() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let component = echo("once", "0.1.0");
    // Eight at once, each on a connection of its own.
    let at_once = (0..8).map(|_| async {
        let mut client = host.operator().await?;
        anyhow::Ok(client.upload(&component, named("release-1")).await?)
    });
    let mut answers = try_join_all(at_once).await?;
    answers.push(client.upload(&component, named("release-1")).await?);
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(answers[0].agent.as_ref().unwrap().generation, 1);
    let published = recorded(&mut client, "once", "generation_published").await?;
    assert_eq!(published, 1);

    // The same name for something else is a mistake, and the agent stays as it was.
    let second = echo("once", "0.2.0");
    let other = client.upload(&second, named("release-1"));
    let refused = other.await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // Another principal's name is another name.
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let theirs = echo("theirs", "0.1.0");
    let theirs = bob.upload(&theirs, named("release-1"));
    assert_eq!(theirs.await?.agent.unwrap().owner, "bob");

    // A failure is forgotten, so that what was wrong can be set right.
    let broken = client.upload(b"no component", named("release-2")).await;
    assert_eq!(broken.unwrap_err().code(), Code::InvalidArgument);
    let mended = client.upload(&second, named("release-2"));
    assert_eq!(mended.await?.agent.unwrap().generation, 2);

    let long = client.upload(&component, named(&"x".repeat(129))).await;
    assert_eq!(reason(&long.unwrap_err()), "INVALID_FIELD");

    // A restart forgets nothing.
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    let again = client.upload(&component, named("release-1")).await?;
    assert_eq!(again, answers[0]);
    assert_eq!(agent(&mut client, "once").await?.generation, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_forge_forges_once_and_is_told_to_all_who_ask() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let request = forging("forged-once", "forge-1");
    let at_once = (0..4).map(|_| async {
        let mut client = host.operator().await?;
        anyhow::Ok(forge(&mut client, request.clone()).await?)
    });
    let told = try_join_all(at_once).await?;
    for events in &told {
        let last = events.last().unwrap();
        assert!(
            matches!(last.detail, Some(Detail::Published(_))),
            "{last:?}"
        );
        assert_eq!(last, told[0].last().unwrap());
        // Whoever comes while it runs is told all of it; whoever comes later, the end.
        let from_the_first = events.iter().zip(1..).all(|(event, n)| event.sequence == n);
        assert!(from_the_first || events.len() == 1, "{events:?}");
    }
    assert!(told.iter().any(|events| events.len() > 1));
    let last = told[0].last().unwrap().clone();
    let later = forge(&mut client, request.clone()).await?;
    assert_eq!(later, std::slice::from_ref(&last));
    assert_eq!(
        recorded(&mut client, "forged-once", "forge_finished").await?,
        1
    );

    let mut other = request.clone();
    other.set.insert("key".to_owned(), "value".to_owned());
    let refused = forge(&mut client, other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED", "{refused}");

    // A forge that failed has ended, too, and is not tried again under its name.
    let broken = v1::ForgeAgentRequest {
        source: "fn".to_owned(),
        ..forging("broken", "forge-2")
    };
    let failed = forge(&mut client, broken.clone()).await?;
    let again = forge(&mut client, broken).await?;
    assert_eq!(again.last(), failed.last());
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].state(), State::Failed);

    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert_eq!(forge(&mut client, request).await?, [last]);
    assert_eq!(agent(&mut client, "forged-once").await?.generation, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_did_not_live_to_answer_is_not_done_twice() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&echo("mine", "0.1.0")).await?;
    // Another owner's agent: the forge waits for a person.
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let request = forging("mine", "forge-1");
    let mut stream = bob.forge.forge_agent(request.clone()).await?.into_inner();
    while let Some(event) = stream.message().await? {
        if matches!(event.detail, Some(Detail::Review(_))) {
            break;
        }
    }
    let token = {
        let create = v1::CreateTokenRequest {
            principal: "bob".to_owned(),
            role: v1::Role::Forger.into(),
            ..v1::CreateTokenRequest::default()
        };
        client.system.create_token(create).await?.into_inner()
    };
    let host = host.kill_and_restart()?;
    let mut bob = nexus_tests::Client::new(host.channel().await?, Some(&token.secret))?;
    let refused = forge(&mut bob, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");
    assert_eq!(reason(&refused), "REQUEST_INTERRUPTED");
    assert_eq!(agent(&mut bob, "mine").await?.version, "0.1.0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_invocation_runs_once_and_its_name_is_good_for_nothing_else() -> anyhow::Result<()>
{
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&echo("told", "0.1.0")).await?;
    let call = |input: &str| v1::InvokeAgentRequest {
        name: "agents/told".to_owned(),
        input: input.to_owned(),
        request_id: "order-7".to_owned(),
        ..v1::InvokeAgentRequest::default()
    };
    let first = client
        .invocations
        .invoke_agent(call("1"))
        .await?
        .into_inner();
    let again = client
        .invocations
        .invoke_agent(call("1"))
        .await?
        .into_inner();
    assert_eq!(again.name, first.name);
    let other = client
        .invocations
        .invoke_agent(call("2"))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other}");
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    // What ran is told, even when the agent is gone.
    let gone = v1::DeleteAgentRequest {
        name: "agents/told".to_owned(),
        ..v1::DeleteAgentRequest::default()
    };
    client.agents.delete_agent(gone).await?;
    let late = client
        .invocations
        .invoke_agent(call("1"))
        .await?
        .into_inner();
    assert_eq!(late, again);
    Ok(())
}
