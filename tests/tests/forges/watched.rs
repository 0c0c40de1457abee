use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_proto::v1::forge_event::Detail;
use nexus_tests::Host;

use super::{forging, get, rest, watch};

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_goes_on_without_its_client_and_is_told_again_from_any_event_on()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let request = forging("alone");
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let first = stream.message().await?.unwrap();
    let name = first.forge.clone();
    assert!(name.starts_with("forges/"), "{first:?}");
    drop(stream);

    // Two followers: one from the start, one that was cut after the first event.
    let mut other = host.operator().await?;
    let (all, after) = tokio::join!(watch(&mut client, &name, 0), watch(&mut other, &name, 1));
    let (all, after) = (all?, after?);
    assert_eq!(all[0], first);
    assert_eq!(after, all[1..]);
    assert!(all.iter().zip(1..).all(|(event, n)| event.sequence == n));
    assert!(all.iter().all(|event| event.forge == name));
    assert!(matches!(
        all.last().unwrap().detail,
        Some(Detail::Published(_))
    ));
    for event in &all {
        let runs = event.state() == v1::forge_event::State::Running;
        assert_eq!(event.duration.is_none(), runs, "{event:?}");
        assert!(event.start_time.is_some());
    }
    let forge = get(&mut client, &name).await?;
    assert_eq!(forge.state(), State::Succeeded);
    assert_eq!(forge.last_event.as_ref(), all.last());
    assert_eq!(forge.agent, "agents/alone");

    // After kill -9 all of it is there.
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert_eq!(get(&mut client, &name).await?, forge);
    for cut in [0, 1, all.len() / 2, all.len()] {
        assert_eq!(watch(&mut client, &name, cut as u64).await?, all[cut..]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forges_are_listed_newest_first_with_how_they_ended() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let wrong = v1::ForgeAgentRequest {
        source: "fn".to_owned(),
        ..forging("wrong")
    };
    let needy = v1::ForgeAgentRequest {
        agent_id: "needy".to_owned(),
        words: "fetch a json document".to_owned(),
        ..v1::ForgeAgentRequest::default()
    };
    let dry = v1::ForgeAgentRequest {
        validate_only: true,
        ..forging("dry")
    };
    for request in [wrong, needy, dry] {
        rest(client.forge.forge_agent(request).await?.into_inner()).await?;
    }
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = v1::ListForgesRequest {
            page_size: 2,
            page_token,
            ..v1::ListForgesRequest::default()
        };
        let page = client.forge.list_forges(list).await?.into_inner();
        found.extend(page.forges);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let stood: Vec<_> = found
        .iter()
        .map(|forge| (forge.agent.as_str(), forge.state()))
        .collect();
    assert_eq!(
        stood,
        [
            ("agents/dry", State::Succeeded),
            ("agents/needy", State::NeedsParameters),
            ("agents/wrong", State::Failed),
        ]
    );
    let only = v1::ListForgesRequest {
        agent: "agents/needy".to_owned(),
        ..v1::ListForgesRequest::default()
    };
    let only = client.forge.list_forges(only).await?.into_inner().forges;
    assert_eq!(only, [found[1].clone()]);
    Ok(())
}
