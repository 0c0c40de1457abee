//! Forges that stand at a stage until they are let go, and what a forge may leave behind.

use std::path::Path;
use std::time::{Duration, Instant};

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, Stage, State};
use nexus_tests::{Client, Host};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{SOURCE, forging, manifest};

/// Where a forge is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The model thinks about the spec, and says nothing.
    Spec,
    /// The model thinks about the code.
    Source,
    /// The compiler is at work, and would be for many seconds.
    Build,
    /// The component is checked and compiled to machine code.
    Proof,
    /// A person is asked.
    Review,
    /// The component is about to become the live generation.
    Publish,
}

pub(crate) const STAGES: [At; 6] = [
    At::Spec,
    At::Source,
    At::Build,
    At::Proof,
    At::Review,
    At::Publish,
];

const SPEC: &str = r#"{"summary": "Answers", "input": {"type": "object"}, "permissions": []}"#;

/// A chat endpoint that answers the first `answers` questions and then holds the line.
pub(crate) struct Model {
    pub(crate) config: String,
    held: mpsc::UnboundedReceiver<()>,
}

impl Model {
    pub(crate) async fn start(answers: &'static [&'static str]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (hold, held) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            let mut answers = answers.iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                if read(&mut stream).await.is_err() {
                    continue;
                }
                match answers.next() {
                    Some(answer) => {
                        let _ = say(&mut stream, answer).await;
                    }
                    None => {
                        let _ = hold.send(());
                        kept.push(stream);
                    }
                }
            }
        });
        Ok(Self {
            config: format!(
                "[model]\nbase_url = \"http://127.0.0.1:{port}/v1\"\nmodel = \"silent\"\n"
            ),
            held,
        })
    }
}

async fn read(stream: &mut TcpStream) -> anyhow::Result<()> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).unwrap_or("0");
            let length: usize = length.lines().next().unwrap_or("0").trim().parse()?;
            let at = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if bytes.len() >= at.unwrap_or_default() + 4 + length {
                return Ok(());
            }
        }
        let read = stream.read(&mut piece).await?;
        anyhow::ensure!(read > 0, "the client hung up");
        bytes.extend_from_slice(&piece[..read]);
    }
}

async fn say(stream: &mut TcpStream, answer: &str) -> anyhow::Result<()> {
    let chunk = serde_json::json!({ "choices": [{ "delta": { "content": answer } }] });
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let text = format!("{head}data: {chunk}\n\ndata: [DONE]\n\n");
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// The model that holds the line there.
pub(crate) async fn model(at: At) -> anyhow::Result<Model> {
    match at {
        At::Spec => Model::start(&[]).await,
        _ => Model::start(&[SPEC]).await,
    }
}

/// A forge of `steady` that comes to this place.
fn request(at: At) -> v1::ForgeAgentRequest {
    let plain = forging("steady");
    match at {
        At::Spec | At::Source => v1::ForgeAgentRequest {
            mode: v1::ForgeMode::Model.into(),
            words: "answer".to_owned(),
            source: String::new(),
            manifest: String::new(),
            ..plain
        },
        At::Build => v1::ForgeAgentRequest {
            source: format!(
                "{SOURCE}#[allow(long_running_const_eval)]\npub const LONG: u64 = {{ let mut n = 0u64; while n < 1 << 40 {{ n += 1; }} n }};\n"
            ),
            ..plain
        },
        At::Review => v1::ForgeAgentRequest {
            source: "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { http::post(\"https://a.example.com/orders\").json(&input).send()?; Ok(input) }\n".to_owned(),
            manifest: manifest(
                "steady",
                "[[permission]]\nhttp = { origin = \"https://a.example.com\", methods = [\"POST\"], paths = [\"/orders\"] }\n",
            ),
            ..plain
        },
        At::Proof | At::Publish => plain,
    }
}

/// Begins a forge and returns when it is there: its name, and the stream of what it tells further.
pub(crate) async fn bring(
    client: &mut Client,
    at: At,
    model: &mut Model,
) -> anyhow::Result<(String, tonic::Streaming<v1::ForgeEvent>)> {
    let mut stream = client.forge.forge_agent(request(at)).await?.into_inner();
    while let Some(event) = stream.message().await? {
        let begun = |stage| event.stage() == stage && event.state() == State::Running;
        let there = match at {
            At::Spec => begun(Stage::Spec),
            At::Source => begun(Stage::Source),
            At::Build => begun(Stage::Build),
            At::Proof => begun(Stage::Proof),
            At::Publish => begun(Stage::Publish),
            At::Review => matches!(event.detail, Some(Detail::Review(_))),
        };
        if there {
            if matches!(at, At::Spec | At::Source) {
                model.held.recv().await;
            }
            return Ok((event.forge, stream));
        }
        let goes_on = matches!(event.state(), State::Running | State::Succeeded);
        anyhow::ensure!(goes_on, "{event:?}");
    }
    anyhow::bail!("the forge ended before it came to {at:?}")
}

/// What is left of forges in a data directory.
pub(crate) fn directories(data: &Path) -> anyhow::Result<Vec<String>> {
    let jobs = data.join("forge/jobs");
    if !jobs.exists() {
        return Ok(Vec::new());
    }
    let mut left = Vec::new();
    for entry in std::fs::read_dir(jobs)? {
        left.push(entry?.path().display().to_string());
    }
    Ok(left)
}

/// Processes that work in a data directory's forge: the compiler, its linker, their helper.
pub(crate) fn processes(data: &Path) -> anyhow::Result<Vec<String>> {
    let jobs = std::fs::canonicalize(data)?.join("forge/jobs");
    let jobs = jobs.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&jobs) {
            found.push(line);
        }
    }
    Ok(found)
}

/// Returns when no process works there any more. A compiler dies with its host; the guard then kills
/// the linker that it had started.
pub(crate) fn until_none_works(data: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let left = processes(data)?;
        if left.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "{left:?}");
        std::thread::yield_now();
    }
}

/// A host on which `steady` is there, with this model.
pub(crate) async fn host(model: &Model) -> anyhow::Result<Host> {
    let host = Host::builder().config(&model.config).start()?;
    host.operator().await?.deploy(&super::steady()).await?;
    Ok(host)
}
