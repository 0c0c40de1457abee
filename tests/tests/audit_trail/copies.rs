//! Heads that were seen, copies without their host, trails without their beginning.

use std::process::Command;

use nexus_proto::v1;
use nexus_tests::Host;
use serde_json::Value;

use super::{all, busy, checkpoint, nexus};

#[tokio::test(flavor = "multi_thread")]
async fn t36_every_answer_has_the_head_and_the_cli_finds_a_trail_that_went_back()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, state) = (
        directory.path().join("data"),
        directory.path().join("state"),
    );
    let host = Host::builder().data(&data).start()?;
    let mut client = host.operator().await?;
    let head = |metadata: &tonic::metadata::MetadataMap| -> Option<(u64, String)> {
        let text = metadata.get("nexus-audit-head")?.to_str().ok()?;
        let (_, rest) = text.split_once(':')?;
        let (sequence, hash) = rest.split_once(':')?;
        Some((sequence.parse().ok()?, hash.to_owned()))
    };
    let mut last = 0;
    for number in 0..5_u32 {
        let put = v1::PutEntryRequest {
            name: "spaces/kb/entries/one".to_owned(),
            value: number.to_string().into_bytes(),
            ..v1::PutEntryRequest::default()
        };
        let answer = client.memory.put_entry(put).await?;
        let (sequence, hash) = head(answer.metadata()).expect("a head");
        assert!(
            sequence > last,
            "the write is in the trail that the answer tells of"
        );
        last = sequence;
        let events = all(&mut client).await?;
        let event = &events[usize::try_from(sequence)? - 1];
        assert_eq!(hex::encode(&event.hash), hash);
    }
    // Errors tell it too, and nobody without a token hears of it.
    let missing = v1::GetAgentRequest {
        name: "agents/nobody".to_owned(),
        ..v1::GetAgentRequest::default()
    };
    let refused = client.agents.get_agent(missing.clone()).await.unwrap_err();
    assert!(head(refused.metadata()).is_some(), "{refused:?}");
    let mut nobody = host.anonymous().await?;
    let refused = nobody.agents.get_agent(missing).await.unwrap_err();
    assert!(head(refused.metadata()).is_none(), "{refused:?}");

    // What the disk held then is put back later, with its own key and its own checkpoints.
    host.stop()?;
    let backup = directory.path().join("backup");
    let copy = |from: &std::path::Path, to: &std::path::Path| -> anyhow::Result<()> {
        anyhow::ensure!(
            Command::new("cp")
                .arg("-a")
                .args([from, to])
                .status()?
                .success()
        );
        Ok(())
    };
    copy(&data, &backup)?;
    let host = Host::builder().data(&data).start()?;
    let mut client = host.operator().await?;
    busy(&mut client).await?;
    let (good, said) = nexus(Some(&host), &state, &["agents", "list"])?;
    assert!(good, "{said}");
    let (sound, said) = nexus(Some(&host), &state, &["audit", "verify"])?;
    assert!(sound && said.contains("seen before"), "{said}");
    host.stop()?;
    std::fs::remove_dir_all(&data)?;
    copy(&backup, &data)?;
    let host = Host::builder().data(&data).start()?;
    let (sound, said) = nexus(Some(&host), &state, &["audit", "verify"])?;
    assert!(
        !sound && said.contains("FAULT the trail ends at record"),
        "{said}"
    );
    // Who has seen nothing can't tell.
    let fresh = directory.path().join("fresh");
    let (sound, said) = nexus(Some(&host), &fresh, &["audit", "verify"])?;
    assert!(sound, "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_an_export_and_a_copy_of_the_data_verify_without_their_host() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, state) = (
        directory.path().join("data"),
        directory.path().join("state"),
    );
    let key = directory.path().join("elsewhere.key");
    let config = format!("[audit]\nsigning_key = {key:?}");
    let host = Host::builder().data(&data).config(&config).start()?;
    let mut client = host.operator().await?;
    busy(&mut client).await?;
    assert!(key.exists() && !data.join("audit.key").exists());
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (kept, export) = (path("kept.json"), path("trail.jsonl"));
    let (good, said) = nexus(
        Some(&host),
        &state,
        &["audit", "checkpoint", "--output", "json"],
    )?;
    assert!(good, "{said}");
    std::fs::write(&kept, said)?;
    let (good, said) = nexus(Some(&host), &state, &["audit", "export", &export])?;
    assert!(good, "{said}");
    host.stop()?;

    let offline = |arguments: &[&str]| nexus(None, &directory.path().join("auditor"), arguments);
    for arguments in [
        &["audit", "verify", "--file", &export][..],
        &["audit", "verify", "--file", &export, "--checkpoint", &kept],
    ] {
        let (sound, said) = offline(arguments)?;
        assert!(sound && said.contains("the chain holds"), "{said}");
    }
    let lines: Vec<String> = std::fs::read_to_string(&export)?
        .lines()
        .map(str::to_owned)
        .collect();
    let changed = path("changed.jsonl");
    let verify = |lines: Vec<String>| {
        std::fs::write(&changed, lines.join("\n") + "\n")?;
        offline(&["audit", "verify", "--file", &changed, "--checkpoint", &kept])
    };
    let middle = lines.len() / 2;
    type Way = fn(&mut Vec<String>, usize);
    let ways: [(&str, Way); 5] = [
        ("an edit", |lines, at| {
            lines[at] = lines[at].replace("operator", "nobody")
        }),
        ("a line dropped", |lines, at| drop(lines.remove(at))),
        ("two lines swapped", |lines, at| lines.swap(at, at + 1)),
        ("a line that is no record", |lines, at| {
            lines[at].truncate(20)
        }),
        ("the end cut off", |lines, at| lines.truncate(at)),
    ];
    for (what, way) in ways {
        let mut lines = lines.clone();
        let before = lines.clone();
        way(&mut lines, middle);
        assert_ne!(lines, before, "{what}");
        let (sound, said) = verify(lines)?;
        assert!(!sound && said.contains("FAULT"), "{what}: {said}");
    }

    let copy = path("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&data)
        .arg(&copy)
        .status()?;
    anyhow::ensure!(copied.success());
    let (sound, said) = offline(&["audit", "verify", "--data", &copy, "--checkpoint", &kept])?;
    assert!(sound, "{said}");
    let public: Value = serde_json::from_str(&lines[0])?;
    let public = public["verifying_key"].as_str().unwrap();
    let (sound, said) = offline(&["audit", "verify", "--data", &copy, "--key", public])?;
    assert!(sound, "{said}");
    let stranger = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    for of in [["--data", &copy], ["--file", &export]] {
        let (sound, said) = offline(&["audit", "verify", of[0], of[1], "--key", stranger])?;
        assert!(!sound, "{said}");
    }
    let (known, said) = offline(&["audit", "verify", "--data", &copy])?;
    assert!(
        !known && said.contains("--key"),
        "a copy is no word on its own key: {said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_old_records_are_let_go_of_and_the_rest_still_verifies() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[audit]\nretain_records = 100")
        .start()?;
    let state = host.data.with_extension("auditor");
    let mut client = host.operator().await?;
    let old = checkpoint(&mut client).await?;
    busy(&mut client).await?;
    let head = all(&mut client).await?.last().unwrap().sequence;
    let mut events = client
        .audit
        .watch_events(v1::WatchEventsRequest {
            after_sequence: head,
        })
        .await?
        .into_inner();
    checkpoint(&mut client).await?;
    let pruned = loop {
        let event = events.message().await?.unwrap();
        if event.kind == "trail_pruned" {
            break event;
        }
    };
    let first = all(&mut client).await?[0].sequence;
    assert!(first > 100 && first < pruned.sequence, "{first} {pruned:?}");
    let (sound, said) = nexus(
        Some(&host),
        &state,
        &["audit", "verify", "--output", "json"],
    )?;
    let said: Value = serde_json::from_str(&said)?;
    assert!(sound, "{said}");
    assert_eq!(said["prunedSequence"], first - 1, "{said}");
    let host = host.kill_and_restart()?;
    let (sound, said) = nexus(Some(&host), &state, &["audit", "verify"])?;
    assert!(sound, "{said}");
    assert!(old.sequence < first);
    Ok(())
}
