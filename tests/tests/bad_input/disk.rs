//! A disk that is full: what can't be recorded does not happen, and what is there can be read.

use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::origin::Origin;
use nexus_tests::{Host, disk::cramped, probe};
use serde_json::{Value, json};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn t36_on_a_full_disk_what_can_not_be_recorded_does_not_happen_and_reads_go_on()
-> anyhow::Result<()> {
    let origin = Origin::json(json!({ "id": 1 })).await?;
    let config = format!("[egress]\nprivate_origins = [\"{}\"]\n", origin.url());
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).config(&config).start()?;
    let mut client = host.operator().await?;
    let permissions = [probe::http(&origin.url()), probe::memory("kb")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("writer", &permissions))
        .await?;
    let put = |number: usize, bytes: usize| v1::PutEntryRequest {
        name: format!("spaces/kb/entries/entry-{number}"),
        value: vec![b'x'; bytes],
        ..v1::PutEntryRequest::default()
    };
    client.memory.put_entry(put(0, 1_000)).await?;
    host.stop()?;

    let host = cramped(&data, &config)?;
    let mut client = host.operator().await?;
    // A question from before the disk is full, to be answered when it is.
    let write = Value::from(probe::post(&origin.url(), "/orders", &json!({ "n": 1 })));
    let waiting = client.invoke("writer", &write).await?;
    assert_eq!(
        waiting.state(),
        v1::invocation::State::Waiting,
        "{waiting:?}"
    );

    // Far more than there is room for, in large pieces and then in small ones, until none is taken.
    let (mut taken, mut refused) = (0, None);
    loop {
        let before = taken;
        for bytes in [256 << 10, 512] {
            refused = loop {
                match client.memory.put_entry(put(taken + 1, bytes)).await {
                    Ok(_) => taken += 1,
                    Err(status) => break Some(status),
                }
                assert!(taken < 100_000, "the disk never fills");
            };
        }
        if taken == before {
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(reason(&refused), "DISK_FULL", "{refused}");
    assert!(
        refused.message().contains("nothing was changed"),
        "{refused}"
    );

    // What can't be recorded does not happen: no agent, no question.
    let deployed = client
        .deploy(&probe::component("another", &permissions))
        .await;
    let refused = deployed.expect_err("an agent was deployed");
    let refused = refused.downcast::<tonic::Status>()?;
    assert_eq!(reason(&refused), "DISK_FULL", "{refused}");
    let body = json!({ "n": "9".repeat(300 << 10) });
    let large = Value::from(probe::post(&origin.url(), "/orders", &body));
    let ended = client.invoke("writer", &large).await?;
    assert!(ended.outcome.is_some(), "it waits for a person: {ended:?}");

    // A yes counts only if it is on disk, and what it starts only after that is on disk.
    let decided = client
        .decide(&waiting.approvals[0], v1::Verdict::Approve)
        .await;
    match decided {
        Ok(_) => drop(client.ended(&waiting.name).await?),
        // Who decides has to know that it is the disk.
        Err(status) => assert_eq!(reason(&status), "DISK_FULL", "{status}"),
    }
    let started = v1::ListEventsRequest {
        page_size: 1_000,
        agent: "agents/writer".to_owned(),
        ..Default::default()
    };
    let started = client.audit.list_events(started).await?.into_inner().events;
    let ours = [&waiting.name, &ended.name];
    let started = started
        .iter()
        .filter(|event| event.kind == "effect_started" && ours.contains(&&event.invocation));
    let started = started.count();
    assert_eq!(origin.received().len(), started, "{:?}", origin.received());

    // What is there can be read, by people and by agents that need no record. A look at what agents
    // keep is itself recorded, and so has to wait.
    let kept = v1::GetEntryRequest {
        name: "spaces/kb/entries/entry-0".to_owned(),
    };
    if let Err(status) = client.memory.get_entry(kept).await {
        assert_eq!(reason(&status), "DISK_FULL", "{status}");
    }
    client.system.get_status(v1::GetStatusRequest {}).await?;
    client.invocation(&waiting.name).await?;
    let agents = client
        .agents
        .list_agents(v1::ListAgentsRequest::default())
        .await?
        .into_inner();
    assert_eq!(agents.agents.len(), 1);
    let events = client
        .audit
        .list_events(v1::ListEventsRequest::default())
        .await?
        .into_inner();
    assert!(!events.events.is_empty());
    let config = client
        .output("writer", &json!([{ "call": "config.get" }]))
        .await?;
    assert!(config[0].get("ok").is_some(), "{config}");
    Ok(())
}
