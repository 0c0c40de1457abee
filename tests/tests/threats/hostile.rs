//! A machine with something to steal, and forges of sources that try.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, State};
use nexus_tests::{Client, Host, guests as real};
use prost::Message as _;
use serde_json::json;

use super::guests::manifest;

/// Stands in files and variables that no source may get to see.
pub(crate) const CANARY: &str = "canary-7d1e0b";
/// Stands in the path of the host's data, which nobody outside has to know.
pub(crate) const WHERE: &str = "where-5c2a1d";

/// A source that is an agent, with further items.
pub(crate) fn with(items: &str) -> String {
    format!(
        "use nexus_agent::prelude::*;\n{items}\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> {{ Ok(input) }}\n"
    )
}

/// The same, and it answers with a text.
pub(crate) fn answering(items: &str, text: &str) -> String {
    format!(
        "use nexus_agent::prelude::*;\n{items}\nexport!(invoke);\nfn invoke(_: Value) -> Result<Value> {{ Ok(json!({text})) }}\n"
    )
}

/// Forges an agent without permissions from a source.
pub(crate) async fn forge(
    client: &mut Client,
    name: &str,
    source: &str,
) -> anyhow::Result<Vec<v1::ForgeEvent>> {
    let request = v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: source.to_owned(),
        manifest: manifest(name, ""),
        ..v1::ForgeAgentRequest::default()
    };
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        events.push(event);
    }
    Ok(events)
}

/// What the last stage came to.
pub(crate) fn failure(events: &[v1::ForgeEvent]) -> String {
    let last = events.last().expect("a forge tells something");
    assert_eq!(last.state(), State::Failed, "{last:?}");
    match last.detail.as_ref() {
        Some(Detail::Failure(reason)) => reason.clone(),
        Some(Detail::Diagnostics(found)) => found
            .diagnostics
            .iter()
            .map(|one| one.rendered.clone())
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Whether the forge made its agent.
pub(crate) fn published(events: &[v1::ForgeEvent]) -> bool {
    let last = events.last().and_then(|event| event.detail.as_ref());
    matches!(last, Some(Detail::Published(_)))
}

/// Whether the bytes hold the text, or all of it but its end.
pub(crate) fn holds(bytes: &[u8], what: &str) -> bool {
    let part = &what.as_bytes()[..what.len() - 3];
    bytes.windows(part.len()).any(|window| window == part)
}

/// A host with a canary in its variables, in files beside it, and in what cargo would read.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) client: Client,
    pub(crate) data: PathBuf,
    /// Holds `canary.rs`, which is no Rust, `proper.rs`, which is, and things that are no files.
    pub(crate) loot: PathBuf,
    tcp: TcpListener,
    unix: UnixListener,
    _directory: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let loot = directory.path().join("loot");
        std::fs::create_dir(&loot)?;
        std::fs::write(loot.join("canary.rs"), format!("{CANARY} is no Rust"))?;
        let proper = format!("pub const FOUND: &str = \"{CANARY}\";");
        std::fs::write(loot.join("proper.rs"), &proper)?;
        std::os::unix::fs::symlink(loot.join("canary.rs"), loot.join("link"))?;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            loot.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )?;
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        tcp.set_nonblocking(true)?;
        let unix = UnixListener::bind(loot.join("socket"))?;
        unix.set_nonblocking(true)?;

        let home = directory.path().join(WHERE);
        std::fs::create_dir_all(home.join(".cargo"))?;
        let cargo = format!(
            "[env]\nNEXUS_CANARY = \"{CANARY}\"\n[build]\nrustflags = [\"--cfg\", \"stolen\"]\n"
        );
        std::fs::write(home.join(".cargo/config.toml"), cargo)?;
        std::fs::write(home.join("build.rs"), proper)?;
        // In the environment of the host itself.
        let program = directory.path().join("serve.sh");
        let exports = format!(
            "export NEXUS_CANARY={CANARY} RUSTC_BOOTSTRAP=1 RUSTFLAGS='--cfg stolen' \
             RUSTC_WRAPPER=/bin/false CARGO_TARGET_DIR=/{CANARY}\nexec \"$@\"\n"
        );
        std::fs::write(&program, exports)?;
        let data = home.join("data");
        let host = Host::builder()
            .data(&data)
            .through(&["sh", &program.to_string_lossy()])
            .start()?;
        let mut client = host.operator().await?;
        client.deploy(&real::component("echo")).await?;
        // A good source first: what follows is refused for what it does.
        let events = forge(&mut client, "good", &with("")).await?;
        anyhow::ensure!(published(&events), "{:?}", events.last());
        Ok(Self {
            host,
            client,
            data,
            loot,
            tcp,
            unix,
            _directory: directory,
        })
    }

    /// A file of the loot, as Rust writes a text.
    pub(crate) fn text(&self, file: &str) -> String {
        format!("{:?}", self.loot.join(file).to_string_lossy())
    }

    /// Where something listens.
    pub(crate) fn port(&self) -> anyhow::Result<u16> {
        Ok(self.tcp.local_addr()?.port())
    }

    /// Forges a source, calls what comes of it, and looks for the canaries in all that is told.
    /// Whether there is an agent.
    pub(crate) async fn attack(&self, name: &str, source: &str) -> anyhow::Result<bool> {
        let mut client = self.client.clone();
        let events = forge(&mut client, name, source).await?;
        let mut told: Vec<u8> = events
            .iter()
            .flat_map(v1::ForgeEvent::encode_to_vec)
            .collect();
        let live = published(&events);
        if live {
            let answer = client.invoke(name, &json!({})).await?;
            told.extend(answer.encode_to_vec());
            let shown = self.host.nexus(&["agents", "show", name, "--source"])?;
            anyhow::ensure!(shown.status.success(), "{name}");
            told.extend(shown.stdout);
        } else {
            failure(&events);
        }
        let what = [CANARY, self.host.token(), "root:x:0", "PRETTY_NAME", WHERE];
        for secret in what.iter().filter(|what| !holds(source.as_bytes(), what)) {
            let text = String::from_utf8_lossy(&told);
            anyhow::ensure!(!holds(&told, secret), "{name} tells {secret}: {text}");
        }
        Ok(live)
    }

    /// Looks for the canary in all that the host keeps, and for callers at the traps.
    pub(crate) fn nothing_got_out(&self) -> anyhow::Result<()> {
        for file in files(&self.data)? {
            let kept = std::fs::read(&file)?;
            anyhow::ensure!(!holds(&kept, CANARY), "{}", file.display());
        }
        anyhow::ensure!(self.tcp.accept().is_err(), "somebody called");
        anyhow::ensure!(self.unix.accept().is_err(), "somebody called");
        Ok(())
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// What is left of a host's compilers: their processes, and their directories. The guard that kills what
/// a dead host leaves is the host's own.
pub(crate) fn leftovers(host: &Host) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    let jobs = host.data.join("forge/jobs");
    for entry in std::fs::read_dir(&jobs).into_iter().flatten() {
        left.push(entry?.path().display().to_string());
    }
    let jobs = std::fs::canonicalize(&host.data)?.join("forge/jobs");
    let jobs = jobs.to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc")? {
        let process = entry?.path();
        // Others come and go meanwhile.
        let (Ok(stat), Ok(line)) = (
            std::fs::read_to_string(process.join("stat")),
            std::fs::read(process.join("cmdline")),
        ) else {
            continue;
        };
        let (_, fields) = stat.rsplit_once(')').context("stat names the program")?;
        let parent = fields.split_whitespace().nth(1);
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let guard = line.trim_end().ends_with("sandbox-exec guard");
        let child = parent == Some(&host.pid().to_string()) && !guard;
        if child || line.contains(&jobs) {
            left.push(line);
        }
    }
    Ok(left)
}
