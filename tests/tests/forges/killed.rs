use nexus_proto::v1::forge::State;
use nexus_proto::v1::forge_event::State as StageState;
use serde_json::json;

use super::stage::{At, STAGES, bring, directories, host, model, until_none_works};
use super::{agent, get, watch};

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_at_every_stage_the_registry_is_as_before_or_as_after() -> anyhow::Result<()> {
    for at in STAGES {
        let mut model = model(at).await?;
        let mut host = host(&model).await?;
        let mut client = host.operator().await?;
        let (name, _stream) = bring(&mut client, at, &mut model).await?;
        if !matches!(at, At::Proof | At::Publish) {
            // While the forge stands there the old agent answers.
            assert_eq!(client.output("steady", &json!(1)).await?, json!(1));
        }
        let seen = get(&mut client, &name).await?;
        host = host.kill_and_restart()?;
        until_none_works(&host.data)?;
        assert_eq!(directories(&host.data)?, [""; 0], "{at:?}");

        let mut client = host.operator().await?;
        let live = agent(&mut client, "steady").await?;
        let forge = get(&mut client, &name).await?;
        let answer = client.output("steady", &json!(2)).await?;
        match forge.state() {
            State::Interrupted => {
                assert_eq!(live.generation, 1, "{at:?}");
                assert_eq!(answer, json!(2), "{at:?}");
            }
            State::Succeeded if matches!(at, At::Proof | At::Publish) => {
                assert_eq!(live.generation, 2, "{at:?}");
                assert_eq!(answer, json!({ "new": 2 }), "{at:?}");
            }
            other => panic!("{at:?} {other:?}"),
        }
        // What was told is told again, and then the end.
        let seen = seen.last_event.unwrap().sequence;
        let told = watch(&mut client, &name, 0).await?;
        assert!(told.len() as u64 > seen, "{at:?} {told:?}");
        assert!(told.iter().zip(1..).all(|(event, n)| event.sequence == n));
        assert_eq!(told.last(), forge.last_event.as_ref());
        let last = told.last().unwrap().state();
        assert!(
            matches!(last, StageState::Interrupted | StageState::Succeeded),
            "{last:?}"
        );
    }
    Ok(())
}
