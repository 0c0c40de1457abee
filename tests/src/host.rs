//! The binary `nexus` as a child process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use nexus_proto::v1;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::client::Client;

/// The target directory that the running program was built into.
pub fn target() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.parent()?.to_owned()))
        .unwrap_or_else(|| PathBuf::from("target"))
}

/// The binary, built in the profile of the tests that use it, or the one that `NEXUS_TEST_BINARY` names.
///
/// # Panics
/// If it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(built) = std::env::var_os("NEXUS_TEST_BINARY") {
            return built.into();
        }
        let test = std::env::current_exe().expect("a test knows its own path");
        // .../target/debug/deps/NAME for a test, .../target/release/NAME for a program.
        let directory = test.parent().expect("it is in a directory");
        let directory = directory.strip_suffix("deps").unwrap_or(directory);
        let profile = directory
            .file_name()
            .expect("a profile")
            .to_string_lossy()
            .into_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "nexus-server",
            "--bin",
            "nexus",
        ]);
        if profile == "release" {
            cargo.arg("--release");
        }
        let status = cargo
            .current_dir(crate::guests::root())
            .status()
            .expect("cargo starts");
        assert!(status.success(), "the binary does not build");
        directory.join("nexus")
    })
}

trait StripSuffix {
    fn strip_suffix(&self, name: &str) -> Option<&Path>;
}

impl StripSuffix for Path {
    fn strip_suffix(&self, name: &str) -> Option<&Path> {
        self.file_name()
            .filter(|last| *last == name)
            .and_then(|_| self.parent())
    }
}

/// A host that serves until it is dropped.
pub struct Host {
    child: Child,
    /// Its data directory.
    pub data: PathBuf,
    /// Such as `http://127.0.0.1:40000`.
    pub endpoint: String,
    token: String,
    config: String,
    directory: Option<TempDir>,
    wrapper: Option<Vec<String>>,
}

/// How a host is started.
#[derive(Default)]
pub struct HostBuilder {
    config: String,
    data: Option<PathBuf>,
    wrapper: Option<Vec<String>>,
}

impl HostBuilder {
    /// Adds lines to `nexus.toml`. It listens on a free port of 127.0.0.1 unless a line sets `listen`.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Uses a data directory that outlives the host.
    #[must_use]
    pub fn data(mut self, directory: &Path) -> Self {
        self.data = Some(directory.to_owned());
        self
    }

    /// Starts the binary through another program, such as `taskset -c 0`.
    #[must_use]
    pub fn through(mut self, program: &[&str]) -> Self {
        self.wrapper = Some(program.iter().map(|&word| word.to_owned()).collect());
        self
    }

    /// Starts it and returns when it listens.
    pub fn start(self) -> anyhow::Result<Host> {
        let (directory, data) = match self.data {
            Some(data) => (None, data),
            None => {
                let directory = tempfile::tempdir()?;
                let data = directory.path().join("data");
                (Some(directory), data)
            }
        };
        let mut host = spawn(&data, &self.config, self.wrapper.as_deref())?;
        host.directory = directory;
        Ok(host)
    }
}

fn spawn(data: &Path, config: &str, wrapper: Option<&[String]>) -> anyhow::Result<Host> {
    // Preparing the forge's libraries takes seconds, and they are the same for every host.
    let libraries = binary().with_file_name("forge-libraries");
    let mut config = config.to_owned();
    // Most tests have one person who calls and decides, and others who look on. What the host does by
    // itself once a second one may decide is a test of its own.
    if !config.contains("self_approval") {
        let line = "[approvals]\nself_approval = true\n";
        config = match config.contains("[approvals]") {
            true => config.replacen("[approvals]\n", line, 1),
            false => format!("{config}\n{line}"),
        };
    }
    if !config.contains("[forge]") {
        // Nor is machine code of templates wanted where no agent is made from one.
        config.push_str(&format!(
            "\n[forge]\nlibraries = {:?}\nprecompile_templates = false\n",
            libraries
        ));
    }
    let file = data.with_extension("toml");
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&file, &config)?;
    let mut command = match wrapper.and_then(<[String]>::split_first) {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary());
            command
        }
        None => Command::new(binary()),
    };
    command.args(["serve", "--data"]).arg(data);
    if !config.lines().any(|line| line.starts_with("listen = ")) {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let mut child = command
        .arg("--config")
        .arg(&file)
        .env("RUST_LIB_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start nexus")?;
    let mut words = String::new();
    let mut output = BufReader::new(child.stdout.take().context("stdout is piped")?);
    output.read_line(&mut words)?;
    let mut errors = child.stderr.take().context("stderr is piped")?;
    let Some(endpoint) = words
        .trim()
        .strip_prefix("listening on ")
        .map(str::to_owned)
    else {
        let mut text = String::new();
        errors.read_to_string(&mut text)?;
        let _ = child.wait();
        bail!("nexus did not start: {words}{text}");
    };
    // A full pipe would stop the host.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    let token = std::fs::read_to_string(data.join("operator.token"))?;
    Ok(Host {
        child,
        data: data.to_owned(),
        endpoint,
        token: token.trim().to_owned(),
        config,
        directory: None,
        wrapper: wrapper.map(<[String]>::to_vec),
    })
}

impl Host {
    /// A host with the default configuration.
    pub fn start() -> anyhow::Result<Self> {
        HostBuilder::default().start()
    }

    /// A host to be configured.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The operator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A connection of its own.
    pub async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::new(self.endpoint.clone())?
            .tcp_nodelay(true)
            .connect()
            .await?)
    }

    /// Where it listens, such as `http://127.0.0.1:7420`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The operator's client.
    pub async fn operator(&self) -> anyhow::Result<Client> {
        Client::new(self.channel().await?, Some(&self.token))
    }

    /// A client without a token.
    pub async fn anonymous(&self) -> anyhow::Result<Client> {
        Client::new(self.channel().await?, None)
    }

    /// A client with a new token of this role.
    pub async fn client(&self, principal: &str, role: v1::Role) -> anyhow::Result<Client> {
        let mut operator = self.operator().await?;
        let request = v1::CreateTokenRequest {
            principal: principal.to_owned(),
            role: role.into(),
            ..v1::CreateTokenRequest::default()
        };
        let made = operator.system.create_token(request).await?.into_inner();
        Client::new(self.channel().await?, Some(&made.secret))
    }

    /// Runs a command of the binary against this host.
    pub fn nexus(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(Command::new(binary())
            .args(arguments)
            .env("NEXUS_ENDPOINT", &self.endpoint)
            .env("NEXUS_TOKEN", &self.token)
            .env("XDG_STATE_HOME", self.data.with_extension("state"))
            .stdin(Stdio::null())
            .output()?)
    }

    /// Kills it as `kill -9` does, and starts it again on the same data directory.
    pub fn kill_and_restart(mut self) -> anyhow::Result<Self> {
        self.child.kill()?;
        self.child.wait()?;
        let mut again = spawn(&self.data, &self.config, self.wrapper.as_deref())?;
        again.directory = self.directory.take();
        Ok(again)
    }

    /// Asks it to stop and returns how it ended.
    pub fn stop(mut self) -> anyhow::Result<std::process::ExitStatus> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id")?;
        kill_process(pid, Signal::TERM)?;
        Ok(self.child.wait()?)
    }

    /// Resident memory of its process, in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kilobytes * 1024)
    }

    /// Whether its process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
