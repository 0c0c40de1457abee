//! Whose an agent is, and what others may do to it.

use nexus_proto::v1;
use nexus_proto::v1::deploy_agent_response::State;
use nexus_proto::v1::forge_event::Detail;
use nexus_tests::Host;
use nexus_tests::client::reason;
use tonic::Code;

use super::{agent, echo, forging};

#[tokio::test]
async fn replacing_another_owners_agent_needs_a_person_though_it_asks_for_nothing()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut alice = host.client("alice", v1::Role::Forger).await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let mut carol = host.client("carol", v1::Role::Approver).await?;
    alice.deploy(&echo("shared", "0.1.0")).await?;
    assert_eq!(agent(&mut bob, "shared").await?.owner, "alice");
    // Its owner goes on without anybody.
    alice.deploy(&echo("shared", "0.2.0")).await?;

    let review = bob
        .upload(&echo("shared", "0.3.0"), Default::default())
        .await?;
    assert_eq!(review.state(), State::Review, "{review:?}");
    let live = agent(&mut bob, "shared").await?;
    assert_eq!(
        (live.version.as_str(), live.owner.as_str()),
        ("0.2.0", "alice")
    );
    let asked = carol.approval(&review.approval).await?;
    assert!(asked.rendering.contains("alice"), "{}", asked.rendering);
    carol.decide(&review.approval, v1::Verdict::Deny).await?;
    assert_eq!(agent(&mut bob, "shared").await?.generation, 2);

    let review = bob
        .upload(&echo("shared", "0.3.0"), Default::default())
        .await?;
    let accept = v1::AcceptAgentRequest {
        name: "agents/shared".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let taken = carol.agents.accept_agent(accept).await?.into_inner();
    assert_eq!(
        (taken.version.as_str(), taken.owner.as_str()),
        ("0.3.0", "bob")
    );
    // Now it is the first owner who has to ask.
    let review = alice
        .upload(&echo("shared", "0.4.0"), Default::default())
        .await?;
    assert_eq!(review.state(), State::Review);

    // Going back to what another owner published does not give it back.
    let back = v1::RollbackAgentRequest {
        name: "agents/shared".to_owned(),
        generation: 2,
        ..v1::RollbackAgentRequest::default()
    };
    let back = bob.agents.rollback_agent(back).await?.into_inner();
    assert_eq!(
        (back.version.as_str(), back.owner.as_str()),
        ("0.2.0", "bob")
    );
    let host = host.kill_and_restart()?;
    let mut operator = host.operator().await?;
    assert_eq!(agent(&mut operator, "shared").await?.owner, "bob");
    Ok(())
}

#[tokio::test]
async fn to_have_named_the_permissions_is_not_to_have_agreed_to_a_new_owner() -> anyhow::Result<()>
{
    let host = Host::start()?;
    let mut alice = host.client("alice", v1::Role::Forger).await?;
    let live = alice.deploy(&echo("shared", "0.1.0")).await?;
    let mut operator = host.operator().await?;
    let named = v1::DeployAgentMetadata {
        permissions_digest: live.permissions_digest,
        ..v1::DeployAgentMetadata::default()
    };
    let review = operator.upload(&echo("shared", "0.2.0"), named).await?;
    assert_eq!(review.state(), State::Review);
    assert_eq!(agent(&mut alice, "shared").await?.version, "0.1.0");
    Ok(())
}

#[tokio::test]
async fn nobody_but_owner_and_operator_removes_an_agent_or_takes_it_back() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut alice = host.client("alice", v1::Role::Forger).await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    alice.deploy(&echo("shared", "0.1.0")).await?;
    alice.deploy(&echo("shared", "0.2.0")).await?;
    let name = "agents/shared".to_owned();
    let delete = v1::DeleteAgentRequest {
        name: name.clone(),
        ..v1::DeleteAgentRequest::default()
    };
    let refused = bob.agents.delete_agent(delete.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(reason(&refused), "OWNED_BY_ANOTHER");
    let back = v1::RollbackAgentRequest {
        name,
        ..v1::RollbackAgentRequest::default()
    };
    let refused = bob.agents.rollback_agent(back.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "OWNED_BY_ANOTHER", "{refused}");
    assert_eq!(agent(&mut bob, "shared").await?.version, "0.2.0");

    let mut operator = host.operator().await?;
    let back = operator.agents.rollback_agent(back).await?.into_inner();
    assert_eq!(
        (back.version.as_str(), back.owner.as_str()),
        ("0.1.0", "alice")
    );
    alice.agents.delete_agent(delete).await?;
    // A name that nobody has is everybody's.
    let taken = bob.deploy(&echo("shared", "0.1.0")).await?;
    assert_eq!(taken.owner, "bob");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_over_another_owners_agent_waits_for_a_person() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut alice = host.client("alice", v1::Role::Forger).await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    let mut carol = host.client("carol", v1::Role::Approver).await?;
    alice.deploy(&echo("shared", "0.1.0")).await?;
    let mut stream = bob
        .forge
        .forge_agent(forging("shared", ""))
        .await?
        .into_inner();
    let mut asked = None;
    let mut last = None;
    while let Some(event) = stream.message().await? {
        if let Some(Detail::Review(review)) = &event.detail {
            assert_eq!(agent(&mut alice, "shared").await?.owner, "alice");
            carol.decide(&review.approval, v1::Verdict::Approve).await?;
            asked = Some(review.approval.clone());
        }
        last = event.detail;
    }
    assert!(asked.is_some(), "nobody was asked");
    let Some(Detail::Published(published)) = last else {
        anyhow::bail!("{last:?}");
    };
    assert_eq!((published.generation, published.owner.as_str()), (2, "bob"));
    Ok(())
}
