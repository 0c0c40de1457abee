//! The emergency lock: what it stops, how it is engaged, that it stays.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use nexus_proto::v1;
use nexus_proto::v1::approval::State;
use nexus_proto::v1::invocation::State as Life;
use nexus_tests::client::reason;
use nexus_tests::host::binary;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, guests, probe};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{after_the_lock, engage, events, release, say, standing, told};

/// A host with agents that answer, compute for ever, and ask a person.
async fn stage(origin: &Origin) -> anyhow::Result<(Host, Client)> {
    let config = format!(
        "[egress]\nprivate_origins = [{:?}]\n[runtime]\ncpu_ms = 600000",
        origin.url()
    );
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("echo")).await?;
    client.deploy(&guests::component("hostile")).await?;
    let permissions = [probe::http(&origin.url()), probe::memory("kb")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("writer", &permissions))
        .await?;
    Ok((host, client))
}

fn order(origin: &Origin) -> Value {
    Value::from(probe::post(&origin.url(), "/orders", &json!({ "n": 1 })))
}

async fn spin(client: &mut Client) -> Result<v1::Invocation, Status> {
    let request = v1::StartInvocationRequest {
        name: "agents/hostile".to_owned(),
        input: json!({ "do": "cpu-loop" }).to_string(),
        ..v1::StartInvocationRequest::default()
    };
    let started = client.invocations.start_invocation(request).await?;
    Ok(started.into_inner())
}

/// Every way to make an agent do something or to make an agent.
async fn refused(client: &mut Client) -> anyhow::Result<()> {
    let forge = v1::ForgeAgentRequest {
        agent_id: "another".to_owned(),
        words: "echo what it is given".to_owned(),
        ..v1::ForgeAgentRequest::default()
    };
    let accept = v1::AcceptAgentRequest {
        name: "agents/echo".to_owned(),
        permissions_digest: "none".to_owned(),
    };
    let echo = guests::component("echo");
    let answers = [
        client.invoke("echo", &json!(1)).await.map(drop),
        spin(client).await.map(drop),
        client
            .upload(&echo, v1::DeployAgentMetadata::default())
            .await
            .map(drop),
        client.agents.accept_agent(accept).await.map(drop),
        client.forge.forge_agent(forge).await.map(drop),
    ];
    for (place, answer) in answers.into_iter().enumerate() {
        let status = answer.expect_err("the lock is engaged");
        assert_eq!(status.code(), Code::FailedPrecondition, "{place}: {status}");
        assert_eq!(reason(&status), "LOCKED", "{place}: {status}");
        assert!(status.message().contains("lock release"), "{status}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_ends_what_runs_withdraws_what_waits_and_stays_until_an_operator_lifts_it()
-> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let (host, mut client) = stage(&origin).await?;
    let waiting = client.invoke("writer", &order(&origin)).await?;
    assert_eq!(waiting.state(), Life::Waiting, "{waiting:?}");
    let approved = client.invoke("writer", &order(&origin)).await?;
    let spinning = spin(&mut client).await?;

    let mut approver = host.client("anna", v1::Role::Approver).await?;
    let lock = engage(&mut approver, "a leak\u{1b}[2J").await?;
    assert!(lock.engaged && lock.durable, "{lock:?}");
    assert_eq!(
        (lock.principal.as_str(), lock.reason.as_str()),
        ("anna", "a leak [2J")
    );
    // A second voice changes nothing.
    let again = engage(&mut client, "another reason").await?;
    assert_eq!(again, lock);

    for asked in [&waiting, &approved] {
        let approval = client.approval(&asked.approvals[0]).await?;
        assert_eq!(approval.state(), State::Cancelled, "{approval:?}");
        assert!(format!("{approval:?}").contains("a leak"), "{approval:?}");
        let decided = client
            .decide(&asked.approvals[0], v1::Verdict::Approve)
            .await;
        assert!(decided.is_err(), "what was withdrawn can't be approved");
    }
    for name in [&waiting.name, &approved.name, &spinning.name] {
        let ended = client.ended(name).await?;
        assert_eq!(ended.state(), Life::Cancelled, "{ended:?}");
    }
    refused(&mut client).await?;

    // Whoever engages it need not be able to lift it.
    let lifted = release(&mut approver).await.expect_err("no operator");
    assert_eq!(
        reason(lifted.downcast_ref::<Status>().unwrap()),
        "ROLE_NOT_ALLOWED"
    );
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert_eq!(standing(&mut client).await?, lock);
    refused(&mut client).await?;

    assert!(!release(&mut client).await?.engaged);
    assert!(
        !release(&mut client).await?.engaged,
        "repeating it is harmless"
    );
    assert_eq!(client.output("echo", &json!([1])).await?, json!([1]));
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert!(!standing(&mut client).await?.engaged);
    assert_eq!(client.output("echo", &json!([2])).await?, json!([2]));
    assert_eq!(origin.received().len(), 0);

    let trail = events(&mut client).await?;
    let said = |kind: &str| {
        let found: Vec<_> = trail.iter().filter(|event| event.kind == kind).collect();
        assert_eq!(found.len(), 1, "{kind}");
        (found[0].principal.clone(), found[0].detail.clone())
    };
    let (by, detail) = said("lock_engaged");
    assert!(by == "anna" && detail.contains("a leak"), "{by} {detail}");
    assert_eq!(said("lock_released").0, "operator");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_after_the_lock_is_in_the_trail() -> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let (_host, mut client) = stage(&origin).await?;
    let steps = |number: usize| {
        let key = format!("key-{number}");
        json!([
            { "call": "memory.space.open", "name": "kb", "access": "read-write", "as": "m" },
            { "call": "memory.space.put", "on": "m", "key": key, "value": "v" },
            { "call": "memory.space.get", "on": "m", "key": key },
        ])
    };
    // Writers as fast as they get, until the lock stops them.
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let mut written = 0;
                loop {
                    match client.invoke("writer", &steps(writer)).await {
                        Ok(ended) if ended.state() == Life::Succeeded => written += 1,
                        Ok(ended) => {
                            assert_eq!(ended.state(), Life::Cancelled, "{ended:?}");
                            return written;
                        }
                        Err(status) => {
                            assert_eq!(reason(&status), "LOCKED", "{status}");
                            return written;
                        }
                    }
                }
            })
        })
        .collect();
    told(&mut client, "effect_finished", 0).await?;
    assert!(engage(&mut client, "enough").await?.engaged);
    let mut written = 0;
    for writer in writers {
        written += writer.await?;
    }
    assert!(written > 0, "they were at it");
    let trail = events(&mut client).await?;
    for event in after_the_lock(&trail) {
        let starts = ["effect_started", "action_permitted", "generation_published"];
        assert!(!starts.contains(&event.kind.as_str()), "{event:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_made_by_hand_engages_it_and_removing_the_file_does_not_lift_it()
-> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let (host, mut client) = stage(&origin).await?;
    let spinning = spin(&mut client).await?;
    let file = host.data.join("lock");
    // Files beside it mean nothing.
    std::fs::write(host.data.join("lock.txt"), "no")?;
    assert!(!standing(&mut client).await?.engaged);
    std::fs::write(&file, "stolen laptop\n")?;
    let ended = client.ended(&spinning.name).await?;
    assert_eq!(ended.state(), Life::Cancelled, "{ended:?}");
    told(&mut client, "lock_engaged", 0).await?;
    let lock = standing(&mut client).await?;
    assert!(
        lock.engaged && lock.durable && lock.principal == "file",
        "{lock:?}"
    );

    std::fs::remove_file(&file)?;
    refused(&mut client).await?;
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    refused(&mut client).await?;
    release(&mut client).await?;
    assert_eq!(client.output("echo", &json!([1])).await?, json!([1]));

    // An empty one does as well, and lifting the lock removes it.
    std::fs::write(&file, "")?;
    let lifted = standing_at(&mut client).await?;
    told(&mut client, "lock_engaged", lifted).await?;
    release(&mut client).await?;
    assert!(!file.exists());
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert!(!standing(&mut client).await?.engaged);
    Ok(())
}

/// A place in the trail before the last time that the lock was lifted.
async fn standing_at(client: &mut Client) -> anyhow::Result<u64> {
    let trail = events(client).await?;
    let lifted = trail
        .iter()
        .rev()
        .find(|event| event.kind == "lock_released");
    Ok(lifted.unwrap().sequence)
}

/// The command line without any connection: all that it has is the data directory.
fn nexus(data: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(binary())
        .args(arguments)
        .env("NEXUS_DATA", data)
        .env_remove("NEXUS_ENDPOINT")
        .env_remove("NEXUS_TOKEN")
        .stdin(Stdio::null())
        .output()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_engages_it_without_a_token_and_even_where_no_host_runs()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).start()?;
    let token = std::fs::read_to_string(data.join("operator.token"))?;
    std::fs::remove_file(data.join("operator.token"))?;
    let engaged = nexus(
        &data,
        &["lock", "engage", "--reason", "a\nleak", "--output", "json"],
    )?;
    assert!(engaged.status.success(), "{engaged:?}");
    let said: Value = serde_json::from_slice(&engaged.stdout)?;
    assert_eq!(said["engaged"], true, "{said}");
    let user = rustix::process::getuid().as_raw();
    let by = format!("socket (user {user})");
    assert_eq!(said["principal"], by.as_str(), "{said}");
    assert_eq!(said["reason"], "a leak", "{said}");
    let lifted = nexus(&data, &["lock", "release"])?;
    assert!(!lifted.status.success(), "without a token: {lifted:?}");
    std::fs::write(data.join("operator.token"), token)?;
    let status = nexus(&data, &["lock", "status"])?;
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("ENGAGED"),
        "{status:?}"
    );
    let lifted = nexus(&data, &["lock", "release"])?;
    assert!(lifted.status.success(), "{lifted:?}");
    assert_eq!(say(&data, "status")?["engaged"], false);
    // What is set for another day does not keep the lock from this host.
    let engaged = nexus(
        &data,
        &[
            "--endpoint",
            "http://127.0.0.1:1",
            "lock",
            "engage",
            "--reason",
            "now",
        ],
    )?;
    assert!(engaged.status.success(), "{engaged:?}");
    assert_eq!(say(&data, "status")?["engaged"], true);
    let lifted = nexus(&data, &["lock", "release"])?;
    assert!(lifted.status.success(), "{lifted:?}");
    // The socket does not lift, and answers nonsense.
    for line in ["release", "", "engage\u{0}d"] {
        let answer = say(&data, line)?;
        assert_eq!(answer["engaged"], false, "{line}: {answer}");
        assert!(
            !answer["error"].as_str().unwrap().is_empty(),
            "{line}: {answer}"
        );
    }

    host.stop()?;
    let engaged = nexus(&data, &["lock", "engage", "--reason", "the next start"])?;
    assert!(engaged.status.success(), "{engaged:?}");
    let host = Host::builder().data(&data).start()?;
    let mut client = host.operator().await?;
    let lock = standing(&mut client).await?;
    assert!(lock.engaged && lock.reason == "the next start", "{lock:?}");
    Ok(())
}
