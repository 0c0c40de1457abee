//! The demo's own host: this binary once more, as a child that serves from a temporary directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nexus_proto::v1::{GetStatusRequest, HostStatus};
use tokio::process::{Child, Command};
use tonic::Code;

use super::scenes::Model;
use crate::{
    cli::{
        connection::{Client, Target},
        text::block,
    },
    config::{Config, Egress},
};

/// How often to look whether the host answers, and how long to wait in between. Its first start
/// compiles what agents are linked with, which takes a while on a slow machine.
const TRIES: u32 = 12_000;
const PAUSE: Duration = Duration::from_millis(50);

/// How long the host gets to end what it began.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of its log is shown when something went wrong.
const LAST_LINES: usize = 20;

/// A host in a child process. It dies with this value, whatever happens.
pub(super) struct Host {
    child: Child,
    data: PathBuf,
    log: PathBuf,
}

impl Host {
    /// Starts a host that may reach the market and nothing else on this machine.
    pub(super) fn start(
        directory: &Path,
        market: &str,
        model: Option<&Model>,
    ) -> anyhow::Result<Self> {
        let config = Config {
            egress: Egress {
                private_origins: vec![
                    market
                        .parse()
                        .context("failed to name the market's origin")?,
                ],
                ..Egress::default()
            },
            model: model.map(Model::config),
            ..Config::default()
        };
        let file = directory.join("nexus.toml");
        fs::write(&file, config.to_toml()?)
            .with_context(|| format!("failed to write {}", file.display()))?;
        let data = directory.join("data");
        let log = directory.join("host.log");
        let stderr =
            File::create(&log).with_context(|| format!("failed to make {}", log.display()))?;
        let program = std::env::current_exe().context("failed to find this binary")?;
        let child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .arg("--data")
            .arg(&data)
            .args(["--listen", "127.0.0.1:0"])
            // The demo speaks to its own host and to no other.
            .env_remove("NEXUS_DATA")
            .env_remove("NEXUS_ENDPOINT")
            .env_remove("NEXUS_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start a host")?;
        Ok(Self { child, data, log })
    }

    /// Waits until the host answers calls with its token.
    pub(super) async fn ready(&mut self) -> anyhow::Result<(Client, HostStatus)> {
        for _ in 0..TRIES {
            if let Some(status) = self.child.try_wait()? {
                bail!("the host ended at its start: {status}");
            }
            // Address and token are files that the host writes when it has them.
            if self.data.join("endpoint").exists()
                && let Ok(target) = Target::of_directory(&self.data)
            {
                let client = Client::new(&target, None, None)?;
                match client.system().get_status(GetStatusRequest {}).await {
                    Ok(status) => return Ok((client, status.into_inner())),
                    Err(status) if status.code() == Code::Unavailable => {}
                    Err(status) => return Err(status.into()),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the host does not answer within ten minutes");
    }

    /// Asks the host to stop, waits for it, and insists if it does not.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id()
            && let Ok(pid) = i32::try_from(pid)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It may have ended by itself; the wait below tells.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => {
                let status = status.context("failed to wait for the host")?;
                if !status.success() {
                    bail!("the host did not stop cleanly: {status}");
                }
                Ok(())
            }
            Err(_) => {
                self.child.kill().await.context("failed to end the host")?;
                bail!("the host did not stop when it was asked to");
            }
        }
    }

    /// The end of the host's log, for when something went wrong.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("the host's last words:\n{}", block(&shown.join("\n")))
    }
}
