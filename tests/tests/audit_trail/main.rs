//! T36: whoever changes the audit trail is found out, by the CLI and by anybody who reads the records.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod changes;
mod copies;
mod methods;

use std::path::Path;
use std::process::{Command, Stdio};

use nexus_proto::v1;
use nexus_tests::{Client, Host, guests, host::binary, probe};
use serde_json::json;

/// Does enough for a trail of some length.
async fn busy(client: &mut Client) -> anyhow::Result<()> {
    client.deploy(&guests::component("echo")).await?;
    for number in 0..250_u32 {
        let put = v1::PutEntryRequest {
            name: format!("spaces/kb/entries/entry-{}", number % 7),
            value: number.to_string().into_bytes(),
            ..v1::PutEntryRequest::default()
        };
        client.memory.put_entry(put).await?;
    }
    Ok(())
}

async fn all(client: &mut Client) -> anyhow::Result<Vec<v1::Event>> {
    let mut request = v1::ListEventsRequest {
        page_size: 100,
        ..Default::default()
    };
    let mut events = Vec::new();
    loop {
        let page = client
            .audit
            .list_events(request.clone())
            .await?
            .into_inner();
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.page_token = page.next_page_token;
    }
}

async fn checkpoint(client: &mut Client) -> anyhow::Result<v1::Checkpoint> {
    Ok(client
        .audit
        .get_checkpoint(v1::GetCheckpointRequest {})
        .await?
        .into_inner())
}

/// `nexus` with a memory of its own of what it has seen.
fn nexus(host: Option<&Host>, state: &Path, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env("XDG_STATE_HOME", state)
        .env_remove("NEXUS_ENDPOINT")
        .env_remove("NEXUS_TOKEN")
        .env("NEXUS_DATA", state)
        .stdin(Stdio::null());
    if let Some(host) = host {
        command
            .env("NEXUS_ENDPOINT", &host.endpoint)
            .env("NEXUS_TOKEN", host.token());
    }
    let ran = command.output()?;
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    Ok((ran.status.success(), said))
}

#[tokio::test]
async fn what_an_agent_may_not_even_open_is_in_the_trail() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    // Private, and named by the manifest alone.
    let inside = probe::http("http://localhost:9");
    let component = probe::component("curious", &[&inside, &probe::memory("own")]);
    client.deploy(&component).await?;
    let tries = [
        json!({ "call": "http.origin.open", "url": "https://elsewhere.example.com", "as": "x" }),
        json!({ "call": "memory.space.open", "name": "others", "access": "read", "as": "x" }),
        json!({ "call": "bus.peer.find", "name": "stranger", "as": "x" }),
    ];
    for step in tries {
        let ended = client.invoke("curious", &json!([step])).await?;
        let Some(v1::invocation::Outcome::Success(told)) = &ended.outcome else {
            anyhow::bail!("{ended:?}");
        };
        assert!(told.output.contains("forbidden"), "{told:?}");
        let id = ended.name.trim_start_matches("invocations/");
        let events = all(&mut client).await?;
        let refused = events
            .iter()
            .filter(|event| event.kind == "action_refused" && event.invocation.ends_with(id));
        assert_eq!(refused.count(), 1, "{step}");
    }
    Ok(())
}
