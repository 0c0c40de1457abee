use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_proto::v1::forge_event::State as StageState;
use nexus_tests::{Client, client::reason};
use serde_json::json;
use tonic::Code;

use super::stage::{At, STAGES, bring, directories, host, model, processes};
use super::{agent, get, rest, watch};

async fn cancel(client: &mut Client, forge: &str) -> Result<v1::Forge, tonic::Status> {
    let request = v1::CancelForgeRequest {
        name: forge.to_owned(),
    };
    Ok(client.forge.cancel_forge(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_is_cancelled_at_every_stage_and_leaves_nothing() -> anyhow::Result<()> {
    for at in STAGES {
        let mut model = model(at).await?;
        let host = host(&model).await?;
        let mut client = host.operator().await?;
        let (name, stream) = bring(&mut client, at, &mut model).await?;
        let forge = cancel(&mut client, &name).await?;
        let told = rest(stream).await?;
        assert_eq!(told.last(), forge.last_event.as_ref(), "{at:?}");
        assert!(forge.end_time.is_some(), "{at:?}");
        assert_eq!(directories(&host.data)?, [""; 0], "{at:?}");
        assert_eq!(processes(&host.data)?, [""; 0], "{at:?}");
        let live = agent(&mut client, "steady").await?;
        match forge.state() {
            State::Cancelled => {
                assert_eq!(told.last().unwrap().state(), StageState::Cancelled);
                assert_eq!(live.generation, 1, "{at:?}");
                assert_eq!(client.output("steady", &json!(7)).await?, json!(7));
            }
            // It may just have become the live generation.
            State::Succeeded if matches!(at, At::Proof | At::Publish) => {
                assert_eq!(live.generation, 2, "{at:?}");
            }
            other => panic!("{at:?} {other:?}"),
        }
        if at == At::Review {
            let open = v1::ListApprovalsRequest {
                state: v1::approval::State::Pending.into(),
                ..v1::ListApprovalsRequest::default()
            };
            let open = client.approvals.list_approvals(open).await?.into_inner();
            assert!(open.approvals.is_empty(), "the question is withdrawn");
        }
        // Once more changes nothing.
        assert_eq!(cancel(&mut client, &name).await?, forge);
        assert_eq!(get(&mut client, &name).await?, forge);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forger_sees_and_cancels_nobody_else_s_forge() -> anyhow::Result<()> {
    let mut model = model(At::Spec).await?;
    let host = host(&model).await?;
    let mut client = host.operator().await?;
    let (name, _stream) = bring(&mut client, At::Spec, &mut model).await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    for refused in [
        cancel(&mut bob, &name).await.map(drop),
        get(&mut bob, &name).await.map(drop),
        watch(&mut bob, &name, 0).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
        assert_eq!(reason(&refused), "NOT_FOUND");
    }
    let list = v1::ListForgesRequest::default();
    let seen = bob.forge.list_forges(list).await?.into_inner();
    assert!(seen.forges.is_empty(), "{seen:?}");
    assert_eq!(get(&mut client, &name).await?.state(), State::Running);
    assert_eq!(cancel(&mut client, &name).await?.state(), State::Cancelled);
    Ok(())
}
