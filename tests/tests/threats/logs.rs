//! What agents write into logs: T10.

use nexus_proto::v1::invocation_event::Event;
use nexus_proto::v1::{CancelInvocationRequest, WatchInvocationRequest};
use nexus_tests::origin::Origin;
use nexus_tests::{Client, guests as real, probe};
use serde_json::{Value, json};

use super::support::{host, is_well};

/// Every message of an invocation that waits, and the invocation is then cancelled.
async fn messages(client: &mut Client, name: &str) -> anyhow::Result<Vec<String>> {
    let request = WatchInvocationRequest {
        name: name.to_owned(),
    };
    let mut events = client
        .invocations
        .watch_invocation(request)
        .await?
        .into_inner();
    let mut messages = Vec::new();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Log(entry)) => messages.push(entry.message),
            Some(Event::Progress(progress)) => messages.push(progress.message),
            // The log of the past comes first, and the state after it.
            Some(Event::State(_)) => break,
            _ => {}
        }
    }
    let cancel = CancelInvocationRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    client.invocations.cancel_invocation(cancel).await?;
    Ok(messages)
}

/// Steps that end in a question to a person, so that the invocation is there to be watched.
fn and_ask(origin: &str, mut steps: Vec<Value>) -> Value {
    steps.extend(probe::post(origin, "/", &json!({})));
    steps.into()
}

#[tokio::test]
async fn t10_escapes_and_bidirectional_marks_in_logs_are_inert() -> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let (_host, mut client) = host(&format!(
        "[egress]\nprivate_origins = [\"{}\"]\n",
        origin.url()
    ))
    .await?;
    client
        .deploy(&probe::component("writer", &[&probe::http(&origin.url())]))
        .await?;
    let vectors = [
        "\u{1b}[2J",
        "\u{1b}[1A\u{1b}[2K",
        "\u{1b}]0;title\u{7}",
        "\u{1b}]8;;http://x\u{1b}\\link",
        "\u{1b}c",
        "\u{9b}31m",
        "\u{1b}P+q\u{1b}\\",
        "\u{8}\u{8}\u{8}",
        "\rnothing to see",
        "one\ntwo",
        "one\r\ntwo",
        "\u{0}",
        "\u{7}",
        "\u{b}",
        "\u{c}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}gnp.exe",
        "\u{202a}a",
        "\u{202b}a",
        "\u{202d}a",
        "\u{202c}a",
        "\u{2066}a",
        "\u{2067}a",
        "\u{2068}a",
        "\u{2069}a",
        "\u{200e}a",
        "\u{200f}a",
        "\u{61c}a",
        "a\u{200b}b",
        "a\u{200d}b",
        "a\u{2060}b",
        "\u{feff}a",
        "a\u{ad}b",
        "\u{e0041}",
        "\u{fff9}a",
    ];
    let steps: Vec<Value> = vectors
        .iter()
        .map(|text| json!({ "call": "log.write", "level": "info", "value": format!("<{text}>") }))
        .collect();
    let waiting = client
        .invoke("writer", &and_ask(&origin.url(), steps))
        .await?;
    let messages = messages(&mut client, &waiting.name).await?;
    assert_eq!(
        messages.len(),
        vectors.len(),
        "one line stays one line: {messages:?}"
    );
    assert!(vectors.len() >= 30);
    for (message, vector) in messages.iter().zip(vectors) {
        assert!(
            message.starts_with('<') && message.ends_with('>'),
            "{message:?}"
        );
        assert_ne!(message, &format!("<{vector}>"));
        // What moves, hides or reorders is written out, in letters that show what it was.
        assert!(message.is_ascii(), "{message:?}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.contains('\\'), "{message:?}");
    }
    Ok(())
}

#[tokio::test]
async fn t10_a_flood_of_log_is_cut_off_and_costs_no_disk() -> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let config = format!(
        "[egress]\nprivate_origins = [\"{}\"]\n[runtime]\ncpu_ms = 1000\n",
        origin.url()
    );
    let (mut host, mut client) = host(&config).await?;
    client.deploy(&real::component("hostile")).await?;
    client
        .deploy(&probe::component("writer", &[&probe::http(&origin.url())]))
        .await?;
    let before = size(&host.data)?;
    let resident = host.resident_bytes()?;
    for behaviour in ["log-flood", "stdout-flood"] {
        client
            .invoke("hostile", &json!({ "do": behaviour }))
            .await?;
    }
    // Three megabytes in lines of a kilobyte: the first megabyte is taken, the last 64 KiB are kept.
    let line = "x".repeat(1_000);
    let steps = (0..3_000)
        .map(|_| json!({ "call": "log.write", "level": "warn", "value": line }))
        .collect();
    let waiting = client
        .invoke("writer", &and_ask(&origin.url(), steps))
        .await;
    let messages = messages(&mut client, &waiting?.name).await?;
    let kept: usize = messages.iter().map(String::len).sum();
    assert!(kept <= 64 << 10, "{kept}");
    assert!(!messages.is_empty());
    assert!(
        size(&host.data)? - before < 2 << 20,
        "the disk grew by what guests said"
    );
    assert!(host.resident_bytes()?.saturating_sub(resident) < 64 << 20);
    is_well(&mut host, &mut client).await
}

/// Bytes of every file below a directory.
fn size(directory: &std::path::Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(total)
}
