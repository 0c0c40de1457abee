//! The two switches that stop agents: the emergency lock, and hot reload.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod busy;
mod lock;
mod switch;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nexus_proto::v1;
use nexus_tests::Client;
use serde_json::Value;

/// What the lock's socket answers to a line.
fn say(data: &Path, line: &str) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(data.join("lock.sock"))?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

async fn standing(client: &mut Client) -> anyhow::Result<v1::Lock> {
    let status = client.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(status.into_inner().lock.unwrap())
}

async fn engage(client: &mut Client, reason: &str) -> anyhow::Result<v1::Lock> {
    let request = v1::EngageLockRequest {
        reason: reason.to_owned(),
    };
    Ok(client.system.engage_lock(request).await?.into_inner())
}

async fn release(client: &mut Client) -> anyhow::Result<v1::Lock> {
    let request = v1::ReleaseLockRequest {};
    Ok(client.system.release_lock(request).await?.into_inner())
}

/// The whole trail.
async fn events(client: &mut Client) -> anyhow::Result<Vec<v1::Event>> {
    let mut request = v1::ListEventsRequest {
        page_size: 1_000,
        ..v1::ListEventsRequest::default()
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

/// The next event of a kind, whenever it comes.
async fn told(client: &mut Client, kind: &str, after_sequence: u64) -> anyhow::Result<v1::Event> {
    let request = v1::WatchEventsRequest { after_sequence };
    let mut stream = client.audit.watch_events(request).await?.into_inner();
    while let Some(event) = stream.message().await? {
        if event.kind == kind {
            return Ok(event);
        }
    }
    anyhow::bail!("the trail ended before {kind}")
}

/// The events after the lock was engaged for the last time.
fn after_the_lock(events: &[v1::Event]) -> &[v1::Event] {
    let engaged = events
        .iter()
        .rposition(|event| event.kind == "lock_engaged");
    &events[engaged.expect("it was engaged") + 1..]
}
