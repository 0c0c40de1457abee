//! `nexus audit`: what happened, and the proof that nobody changed it, computed here.

mod copy;

use std::{collections::VecDeque, path::Path};

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nexus_audit::{SigningKey, Verifier, VerifyingKey};
use nexus_proto::v1::{
    Checkpoint, Event, GetAgentRequest, GetCheckpointRequest, GetStatusRequest, ListEventsRequest,
    WatchEventsRequest,
};
use nexus_store::LogRecord;
use serde::Deserialize;
use serde_json::json;
use tonic::Code;

use super::{
    args::{Audit, Global},
    connection::Client,
    exit::Exit,
    output::Output,
    seen,
    text::{line, name},
    view::audit as view,
};

/// How many events to ask for at a time.
const PAGE: i32 = 1_000;

pub(crate) async fn run(command: Audit, global: &Global, output: &Output) -> anyhow::Result<Exit> {
    let connect = || Client::connect(global);
    match command {
        Audit::List {
            after,
            agent,
            invocation,
            limit,
            last,
        } => {
            let request = ListEventsRequest {
                after_sequence: after,
                agent: super::filter("agents", &agent),
                invocation: super::filter("invocations", &invocation),
                ..ListEventsRequest::default()
            };
            let client = connect()?;
            let events = match last {
                Some(last) => newest(request, last, &client).await?,
                None => list(request, limit.unwrap_or(usize::MAX), &client).await?,
            };
            if events.is_empty() && !agent.is_empty() {
                note_unknown(&agent, &client, output).await?;
            }
            output.list("events", &events, view::list)?;
        }
        Audit::Watch { after } => watch(after, &connect()?, output).await?,
        Audit::Checkpoint => {
            let checkpoint = connect()?
                .audit()
                .get_checkpoint(GetCheckpointRequest {})
                .await?;
            output.message(checkpoint.get_ref(), view::checkpoint)?;
        }
        Audit::Export { file } => {
            let records = copy::export(&connect()?, &file).await?;
            if output.is_json() {
                output.json(&json!({ "file": file, "records": records }))?;
            } else {
                output.note(&format!("{records} records are in {}", file.display()));
            }
        }
        Audit::Verify {
            checkpoint,
            file,
            data,
            key,
        } => {
            let kept = checkpoint.as_deref().map(read_kept).transpose()?;
            let verified = match (file, data) {
                (Some(file), _) => copy::verify_file(&file, kept.as_ref(), key)?,
                (None, Some(data)) => copy::verify_data(&data, kept.as_ref(), key).await?,
                (None, None) => verify_chain(&connect()?, kept.as_ref()).await?,
            };
            verified.show(output)?;
            if !verified.is_sound() {
                return Ok(Exit::Error);
            }
        }
    }
    Ok(Exit::Success)
}

/// The last `wanted` events that the request names. With a filter the whole trail is read for them.
async fn newest(
    mut request: ListEventsRequest,
    wanted: usize,
    client: &Client,
) -> anyhow::Result<Vec<Event>> {
    if request.agent.is_empty() && request.invocation.is_empty() {
        let status = client.system().get_status(GetStatusRequest {}).await?;
        let head = status.get_ref().audit_sequence;
        let before = head.saturating_sub(u64::try_from(wanted)?);
        request.after_sequence = request.after_sequence.max(before);
    }
    request.page_size = PAGE;
    let mut events = VecDeque::new();
    loop {
        let page = client
            .audit()
            .list_events(request.clone())
            .await?
            .into_inner();
        events.extend(page.events);
        events.drain(..events.len().saturating_sub(wanted));
        if page.next_page_token.is_empty() {
            return Ok(events.into());
        }
        request.page_token = page.next_page_token;
    }
}

/// Says so if nothing is recorded of an agent because there is none of this name.
async fn note_unknown(agent: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let request = GetAgentRequest {
        name: name("agents", agent),
        ..GetAgentRequest::default()
    };
    match client.agents().get_agent(request).await {
        Err(status) if status.code() == Code::NotFound => output.note(&format!(
            "there is no agent {:?}; `nexus agents list` shows them",
            line(agent)
        )),
        Err(status) => return Err(status.into()),
        Ok(_) => {}
    }
    Ok(())
}

async fn list(
    mut request: ListEventsRequest,
    limit: usize,
    client: &Client,
) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    while events.len() < limit {
        request.page_size = super::page_size(limit - events.len());
        let page = client
            .audit()
            .list_events(request.clone())
            .await?
            .into_inner();
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    events.truncate(limit);
    Ok(events)
}

/// Every event of one invocation, oldest first.
pub(crate) async fn of_invocation(invocation: &str, client: &Client) -> anyhow::Result<Vec<Event>> {
    let request = ListEventsRequest {
        invocation: invocation.to_owned(),
        ..ListEventsRequest::default()
    };
    list(request, usize::MAX, client).await
}

async fn watch(after: Option<u64>, client: &Client, output: &Output) -> anyhow::Result<()> {
    let after_sequence = match after {
        Some(after) => after,
        None => {
            let status = client.system().get_status(GetStatusRequest {}).await?;
            status.get_ref().audit_sequence
        }
    };
    let request = WatchEventsRequest { after_sequence };
    let mut events = client.audit().watch_events(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        output.next(&event, view::next)?;
    }
    Ok(())
}

/// A checkpoint and the key that it is verified with.
pub(crate) struct Anchor {
    pub(super) checkpoint: nexus_audit::Checkpoint,
    pub(super) key: VerifyingKey,
}

impl TryFrom<Checkpoint> for Anchor {
    type Error = anyhow::Error;

    fn try_from(checkpoint: Checkpoint) -> anyhow::Result<Self> {
        let time = checkpoint
            .create_time
            .ok_or_else(|| anyhow!("the checkpoint has no time"))?;
        let time_ms = time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000;
        Ok(Self {
            key: hex::encode(&checkpoint.verifying_key)
                .parse()
                .context("the checkpoint has no key")?,
            checkpoint: nexus_audit::Checkpoint {
                sequence: checkpoint.sequence,
                hash: exact(checkpoint.hash, "hash")?,
                time_ms: u64::try_from(time_ms).context("the checkpoint's time is impossible")?,
                signature: exact(checkpoint.signature, "signature")?,
                key_id: checkpoint.key_id,
            },
        })
    }
}

/// What the chain turned out to be.
pub(crate) struct Verified {
    report: nexus_audit::Report,
    /// Faults that lie outside the chain itself.
    others: Vec<String>,
    key: Option<VerifyingKey>,
    /// The newest head that was seen before, if any was.
    seen: Option<u64>,
}

/// Ends a verification: the trail has to hold the checkpoint, and the newest head that any command on
/// this machine has seen of it.
fn judge(
    mut verifier: Verifier<'_>,
    checkpoint: Option<&nexus_audit::Checkpoint>,
    key: VerifyingKey,
    others: Vec<String>,
) -> Verified {
    let seen = seen::remembered(&key.id());
    if let Some(seen) = &seen {
        verifier.position(seen);
    }
    Verified {
        report: verifier.finish(checkpoint),
        others,
        key: Some(key),
        seen: seen.map(|seen| seen.sequence),
    }
}

impl Verified {
    pub(crate) fn is_sound(&self) -> bool {
        self.report.is_sound() && self.others.is_empty()
    }

    pub(crate) fn records(&self) -> u64 {
        self.report.records
    }

    /// What is wrong, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.report
            .faults
            .iter()
            .map(ToString::to_string)
            .chain(self.others.iter().cloned())
            .collect()
    }

    fn show(&self, output: &Output) -> anyhow::Result<()> {
        let key = self.key.map(|key| key.to_string()).unwrap_or_default();
        if output.is_json() {
            return output.json(&json!({
                "sound": self.is_sound(),
                "records": self.report.records,
                "headSequence": self.report.head.sequence,
                "headHash": hex::encode(self.report.head.hash),
                "checkpoints": self.report.checkpoints,
                "coveredSequence": self.report.covered,
                "prunedSequence": self.report.pruned,
                "seenSequence": self.seen,
                "verifyingKey": key,
                "faults": self.faults(),
            }));
        }
        let mut text = super::text::fields([
            ("records", self.report.records.to_string()),
            ("head", hex::encode(self.report.head.hash)),
            ("checkpoints", self.report.checkpoints.to_string()),
            ("signed up to", self.report.covered.to_string()),
            ("let go of up to", self.report.pruned.to_string()),
            (
                "seen before",
                self.seen
                    .map_or_else(|| "nothing".to_owned(), |seen| format!("record {seen}")),
            ),
            ("key", key),
        ]);
        for fault in self.faults() {
            text.push_str(&format!("FAULT {fault}\n"));
        }
        text.push_str(if self.is_sound() {
            "the chain holds\n"
        } else {
            "the chain does not hold\n"
        });
        output.text(&text)
    }
}

/// Fetches the chain from its first record and verifies every link, every checkpoint in it, and that
/// it still holds the checkpoint that was kept or, without one, the host's latest.
pub(crate) async fn verify_chain(
    client: &Client,
    kept: Option<&Anchor>,
) -> anyhow::Result<Verified> {
    // Asked for before the records, so that they reach at least as far.
    let served = latest(client).await?;
    let mut others = Vec::new();
    if let (Some(kept), Some(served)) = (kept, &served)
        && kept.key != served.key
    {
        others.push(format!(
            "the host signs with key {}, the kept checkpoint was signed with {}",
            served.key.id(),
            kept.key.id()
        ));
    }
    let anchor = kept.or(served.as_ref());
    if let Some(anchor) = anchor {
        let mut verifier = Verifier::new(&anchor.key);
        fetch_chain(client, |record| verifier.record(&record)).await?;
        return Ok(judge(
            verifier,
            Some(&anchor.checkpoint),
            anchor.key,
            others,
        ));
    }
    // Before the first checkpoint the chain is short. One may come about meanwhile; without any, no
    // signature in the chain can be right.
    let mut records = Vec::new();
    fetch_chain(client, |record| records.push(record)).await?;
    let key = match latest(client).await? {
        Some(anchor) => Some(anchor.key),
        None => None,
    };
    let none = SigningKey::generate()
        .context("failed to make a key")?
        .verifying_key();
    Ok(Verified {
        report: nexus_audit::verify(records, &key.unwrap_or(none), None),
        others,
        key,
        seen: None,
    })
}

async fn latest(client: &Client) -> anyhow::Result<Option<Anchor>> {
    match client.audit().get_checkpoint(GetCheckpointRequest {}).await {
        Ok(checkpoint) => Anchor::try_from(checkpoint.into_inner()).map(Some),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// Hands every record of the chain to `take`, in the order of the host.
async fn fetch_chain(client: &Client, mut take: impl FnMut(LogRecord)) -> anyhow::Result<()> {
    let mut request = ListEventsRequest {
        page_size: PAGE,
        ..ListEventsRequest::default()
    };
    loop {
        let page = client
            .audit()
            .list_events(request.clone())
            .await?
            .into_inner();
        for event in page.events {
            take(LogRecord {
                sequence: event.sequence,
                epoch: 0,
                previous: exact(event.previous_hash, "previous hash")?,
                hash: exact(event.hash, "hash")?,
                record: event.record,
            });
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

fn exact<const N: usize>(bytes: Vec<u8>, what: &str) -> anyhow::Result<[u8; N]> {
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| anyhow!("a {what} has {length} bytes instead of {N}"))
}

/// A checkpoint as `audit checkpoint --output json` writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    sequence: u64,
    hash: String,
    create_time: String,
    signature: String,
    key_id: String,
    verifying_key: String,
}

fn read_kept(file: &Path) -> anyhow::Result<Anchor> {
    let read = || -> anyhow::Result<Anchor> {
        let kept: Kept = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        Anchor::try_from(Checkpoint {
            sequence: kept.sequence,
            hash: STANDARD.decode(kept.hash)?,
            create_time: Some(kept.create_time.parse()?),
            signature: STANDARD.decode(kept.signature)?,
            key_id: kept.key_id,
            verifying_key: STANDARD.decode(kept.verifying_key)?,
        })
    };
    read().with_context(|| {
        format!(
            "failed to read {} as a checkpoint of `nexus audit checkpoint --output json`",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json;

    #[test]
    fn a_checkpoint_that_was_printed_reads_back() {
        let key = SigningKey::generate().expect("a key").verifying_key();
        let printed = Checkpoint {
            sequence: 12,
            hash: vec![7; 32],
            create_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 123_000_000,
            }),
            signature: vec![9; 64],
            key_id: key.id(),
            verifying_key: hex::decode(key.to_string()).expect("hexadecimal"),
        };
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = json::value(&printed).expect("JSON").to_string();
        std::fs::write(file.path(), text).expect("written");
        let anchor = read_kept(file.path()).expect("read");
        assert_eq!(anchor.checkpoint.sequence, 12);
        assert_eq!(anchor.checkpoint.time_ms, 1_700_000_000_123);
        assert_eq!(anchor.checkpoint.signature, [9; 64]);
        assert!(anchor.key == key);
    }
}
