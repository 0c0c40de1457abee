//! Every edit, reorder, restamp and cut, also by a host that lies.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use futures::stream::Empty;
use nexus_proto::v1;
use nexus_proto::v1::audit_service_server::{AuditService, AuditServiceServer};
use nexus_tests::{Host, host::binary};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::{all, busy, checkpoint};

fn link(previous: &[u8], sequence: u64, record: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(sequence.to_be_bytes());
    hash.update(record);
    hash.finalize().to_vec()
}

/// A verifier of ten lines, as an auditor writes it: what is wrong with a trail, if anything.
fn fault(events: &[v1::Event], kept: &v1::Checkpoint) -> Option<String> {
    let mut previous = vec![0; 32];
    for (place, event) in (1_u64..).zip(events) {
        if event.sequence != place {
            return Some(format!("{} stands at {place}", event.sequence));
        }
        if event.previous_hash != previous || event.hash != link(&previous, place, &event.record) {
            return Some(format!("the chain breaks at {place}"));
        }
        if place == kept.sequence && event.hash != kept.hash {
            return Some("it is not the chain of the checkpoint".to_owned());
        }
        previous.clone_from(&event.hash);
    }
    ((events.len() as u64) < kept.sequence).then(|| "it ends before the checkpoint".to_owned())
}

/// Makes a chain that is sound in itself out of whatever the records are now.
fn chain_again(events: &mut [v1::Event]) {
    let mut previous = vec![0; 32];
    for (place, event) in (1_u64..).zip(events) {
        event.sequence = place;
        event.previous_hash.clone_from(&previous);
        event.hash = link(&previous, place, &event.record);
        previous.clone_from(&event.hash);
    }
}

fn restamp(event: &mut v1::Event) {
    let mut record: Value = serde_json::from_slice(&event.record).unwrap();
    record["time_ms"] = json!(record["time_ms"].as_u64().unwrap() - 1);
    event.record = serde_json::to_vec(&record).unwrap();
}

/// Ways to change a trail at a place, counted from zero.
type Change = fn(&mut Vec<v1::Event>, usize);
const CHANGES: [(&str, Change); 7] = [
    ("a flipped bit", |events, at| events[at].record[0] ^= 1),
    ("a flipped bit of a hash", |events, at| {
        events[at].hash[31] ^= 1
    }),
    ("a record dropped", |events, at| drop(events.remove(at))),
    ("two records swapped", |events, at| events.swap(at, at + 1)),
    ("a record twice", |events, at| {
        events.insert(at, events[at].clone())
    }),
    ("another time", |events, at| restamp(&mut events[at])),
    ("the end cut off", |events, at| events.truncate(at)),
];

#[tokio::test(flavor = "multi_thread")]
async fn t36_every_change_of_every_record_is_found() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    busy(&mut client).await?;
    let directory = tempfile::tempdir()?;
    let data = host.data.clone();
    // The last checkpoint is written when the host stops.
    let kept_data = directory.path().join("data");
    copy_after_stop(host, &data, &kept_data)?;
    let host = Host::builder().data(&kept_data).start()?;
    let mut client = host.operator().await?;
    let kept = checkpoint(&mut client).await?;
    let events = all(&mut client).await?;
    assert!(kept.sequence > 250, "{}", kept.sequence);
    assert_eq!(fault(&events, &kept), None);
    let covered = usize::try_from(kept.sequence)?;
    for at in 0..covered - 1 {
        for (what, change) in CHANGES {
            let mut changed = events.clone();
            change(&mut changed, at);
            assert!(fault(&changed, &kept).is_some(), "{what} at {at}");
            // Whoever has the disk can also compute hashes. The checkpoint, kept elsewhere, tells.
            if at % 10 == 0 {
                chain_again(&mut changed);
                let undone = what == "a flipped bit of a hash";
                assert_eq!(
                    fault(&changed, &kept).is_none(),
                    undone,
                    "{what} at {at}, with new hashes"
                );
            }
        }
    }
    Ok(())
}

fn copy_after_stop(host: Host, from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    // The directory goes away with its host; a copy made while it still writes would be torn.
    let status = Command::new("kill")
        .args(["-TERM", &host.pid().to_string()])
        .status()?;
    anyhow::ensure!(status.success());
    let mut host = host;
    while host.is_running() {
        std::thread::yield_now();
    }
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    anyhow::ensure!(copied.success());
    Ok(())
}

/// A host that serves whatever trail it is given.
#[derive(Clone)]
struct Liar {
    events: Arc<Mutex<Vec<v1::Event>>>,
    checkpoint: Arc<Mutex<v1::Checkpoint>>,
}

#[tonic::async_trait]
impl AuditService for Liar {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let from: usize = request.get_ref().page_token.parse().unwrap_or(0);
        let events = self.events.lock().unwrap();
        let page: Vec<_> = events.iter().skip(from).take(100).cloned().collect();
        let next = from + page.len();
        let next_page_token = if next < events.len() {
            next.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(v1::ListEventsResponse {
            events: page,
            next_page_token,
        }))
    }

    type WatchEventsStream = Empty<Result<v1::Event, Status>>;

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        Ok(Response::new(futures::stream::empty()))
    }

    async fn get_checkpoint(
        &self,
        _: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        Ok(Response::new(self.checkpoint.lock().unwrap().clone()))
    }
}

/// Whether `nexus audit verify` is content with a host, and what it says.
async fn verify(
    endpoint: &str,
    token: &str,
    kept: &std::path::Path,
) -> anyhow::Result<(bool, String)> {
    // What is remembered of the true trail is another test's.
    let state = tempfile::tempdir()?;
    let mut command = Command::new(binary());
    command
        .args(["audit", "verify", "--checkpoint"])
        .env("XDG_STATE_HOME", state.path())
        .arg(kept)
        .env("NEXUS_ENDPOINT", endpoint)
        .env("NEXUS_TOKEN", token)
        .stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output()).await??;
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    Ok((ran.status.success(), said))
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_the_cli_finds_what_a_lying_host_has_changed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).start()?;
    busy(&mut host.operator().await?).await?;
    host.stop()?;
    let host = Host::builder().data(&data).start()?;
    let mut client = host.operator().await?;
    let (events, signed) = (all(&mut client).await?, checkpoint(&mut client).await?);
    let kept = directory.path().join("kept.json");
    let printed = host.nexus(&["audit", "checkpoint", "--output", "json"])?;
    assert!(printed.status.success());
    std::fs::write(&kept, &printed.stdout)?;
    let (sound, said) = verify(&host.endpoint, host.token(), &kept).await?;
    assert!(sound, "{said}");

    let liar = Liar {
        events: Arc::default(),
        checkpoint: Arc::new(Mutex::new(signed.clone())),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let service = AuditServiceServer::new(liar.clone());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    liar.events.lock().unwrap().clone_from(&events);
    let (sound, said) = verify(&endpoint, host.token(), &kept).await?;
    assert!(sound, "the unchanged trail: {said}");

    let middle = usize::try_from(signed.sequence)? / 2;
    for (what, change) in CHANGES {
        for again in [false, true] {
            if again && what == "a flipped bit of a hash" {
                continue;
            }
            let mut changed = events.clone();
            change(&mut changed, middle);
            if again {
                chain_again(&mut changed);
            }
            *liar.events.lock().unwrap() = changed;
            let (sound, said) = verify(&endpoint, host.token(), &kept).await?;
            assert!(!sound, "{what}, with new hashes: {again}: {said}");
            assert!(
                said.contains("FAULT") && said.contains("does not hold"),
                "{what}: {said}"
            );
        }
    }
    // A checkpoint of the host's own making, for a trail that it has rewritten.
    let mut changed = events.clone();
    restamp(&mut changed[middle]);
    chain_again(&mut changed);
    let mut forged = signed.clone();
    forged
        .hash
        .clone_from(&changed[usize::try_from(signed.sequence)? - 1].hash);
    *liar.events.lock().unwrap() = changed;
    *liar.checkpoint.lock().unwrap() = forged;
    let (sound, said) = verify(&endpoint, host.token(), &kept).await?;
    assert!(!sound, "{said}");
    Ok(())
}
