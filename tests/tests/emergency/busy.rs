//! The lock is engaged although the host has no time and no disk.

use std::path::PathBuf;

use nexus_proto::v1;
use nexus_proto::v1::invocation::State as Life;
use nexus_tests::client::reason;
use nexus_tests::disk::cramped;
use nexus_tests::{Client, Host, guests, probe};
use serde_json::json;

use super::{after_the_lock, events, release, say, standing, told};

/// As many guests as compute for ever, on two threads that also serve every call.
const SPINNING: usize = 16;

async fn spin(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for _ in 0..SPINNING {
        let request = v1::StartInvocationRequest {
            name: "agents/hostile".to_owned(),
            input: json!({ "do": "cpu-loop" }).to_string(),
            ..v1::StartInvocationRequest::default()
        };
        let started = client.invocations.start_invocation(request).await?;
        names.push(started.into_inner().name);
    }
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_and_file_stop_a_host_whose_threads_are_all_taken() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[runtime]\nworkers = 2\ncpu_ms = 600000\nwall_ms = 3600000")
        .start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("hostile")).await?;
    let file = host.data.join("lock");
    let mut seen = 0;
    for way in ["socket", "file"] {
        let spinning = spin(&mut client).await?;
        // Calls that wait for the host's attention, as many as one connection takes.
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move {
                    let list = v1::ListEventsRequest::default();
                    client.audit.list_events(list).await.map(drop)
                })
            })
            .collect();
        let data = host.data.clone();
        let engaged = match way {
            "socket" => tokio::task::spawn_blocking(move || say(&data, "engage runaway")).await??,
            _ => {
                // Under its name only when its text is in it.
                let note = file.with_extension("note");
                std::fs::write(&note, "runaway")?;
                std::fs::rename(&note, &file)?;
                json!({ "engaged": true, "durable": true })
            }
        };
        assert_eq!(engaged["engaged"], true, "{engaged}");
        assert_eq!(engaged["durable"], true, "{engaged}");
        for name in &spinning {
            // Ended by the lock: the limits of processor and clock are far away.
            let ended = client.ended(name).await?;
            assert_eq!(ended.state(), Life::Cancelled, "{way}: {ended:?}");
        }
        for call in calls {
            call.await??;
        }
        seen = told(&mut client, "lock_engaged", seen).await?.sequence;
        let lock = standing(&mut client).await?;
        assert!(
            lock.engaged && lock.reason == "runaway" && lock.principal.starts_with(way),
            "{lock:?}"
        );
        release(&mut client).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_lock_holds_all_the_same() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("echo")).await?;
    let memory = probe::memory("kb");
    client
        .deploy(&probe::component("writer", &[&memory]))
        .await?;
    host.stop()?;

    let host = cramped(&data, "")?;
    let mut client = host.operator().await?;
    let put = |number: usize, bytes: usize| v1::PutEntryRequest {
        name: format!("spaces/kb/entries/entry-{number}"),
        value: vec![b'x'; bytes],
        ..v1::PutEntryRequest::default()
    };
    let mut taken = 0;
    for bytes in [256 << 10, 4 << 10, 512] {
        while client.memory.put_entry(put(taken, bytes)).await.is_ok() {
            taken += 1;
            assert!(taken < 100_000, "the disk never fills");
        }
    }
    // The directory as the host sees it: it may be on a file system of its own.
    let inside = PathBuf::from(format!("/proc/{}/root{}", host.pid(), data.display()));
    drop(std::fs::File::create(inside.join("lock"))?);
    // Whether or not it can be written down at once, it holds.
    let refused = loop {
        match client.invoke("echo", &json!(1)).await {
            Ok(ended) => assert!(ended.outcome.is_some(), "{ended:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&refused), "LOCKED", "{refused}");
    let lock = say(&inside, "status")?;
    assert_eq!(lock["engaged"], true, "{lock}");
    let lock = standing(&mut client).await?;
    assert!(lock.engaged && lock.principal == "file", "{lock:?}");
    // Out of the reserve.
    told(&mut client, "lock_engaged", 0).await?;
    assert!(standing(&mut client).await?.durable);
    let trail = events(&mut client).await?;
    let started = |event: &v1::Event| event.kind == "effect_started";
    assert!(!after_the_lock(&trail).iter().any(started));
    Ok(())
}
