//! A reader at their terminals: commands run one block after the other in one directory.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use nexus_tests::guests::root;
use nexus_tests::host::binary;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// A person has to decide; scripts go on.
const WAITING: i32 = 17;

/// Terminals that share a home directory and what was exported.
pub(crate) struct Session {
    home: TempDir,
    /// The other terminals. They end with the session.
    background: Vec<Group>,
    /// The last approval and the last invocation that were shown.
    approval: String,
    invocation: String,
}

struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Session {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            home: tempfile::tempdir()?,
            background: Vec::new(),
            approval: String::new(),
            invocation: String::new(),
        })
    }

    /// Runs a block to its end and returns all that it showed.
    pub(crate) fn run(&mut self, block: &str) -> anyhow::Result<String> {
        let block = block
            .replace("apr-...", &self.approval)
            .replace("inv-...", &self.invocation);
        let script = format!("exec 2>&1\n{}\n{block}", self.state());
        let output = self.bash(&script).stdin(Stdio::null()).output()?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code();
        ensure!(
            code == Some(0) || code == Some(WAITING),
            "{:?} of\n{block}\nwhich showed\n{shown}",
            output.status
        );
        if let Some(id) = last_id(&shown, "apr-") {
            self.approval = id;
        }
        if let Some(id) = last_id(&shown, "inv-") {
            self.invocation = id;
        }
        Ok(shown)
    }

    /// Starts a block in another terminal; returns when it says where it listens.
    pub(crate) fn background(&mut self, block: &str) -> anyhow::Result<()> {
        // The forge's libraries are the same for every host, and take a while to compile.
        let libraries = binary().with_file_name("forge-libraries");
        let script = format!(
            "{}\nif [ -f nexus.toml ] && ! grep -q forge nexus.toml; then printf '[forge]\\nlibraries = \"%s\"\\n' {} >> nexus.toml; fi\n{block}",
            self.state(),
            libraries.display()
        );
        let mut child = self
            .bash(&script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let output = child.stdout.take().context("stdout is piped")?;
        self.background.push(Group(child));
        let mut lines = BufReader::new(output).lines();
        let said = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("http://"));
        ensure!(said, "it ended without saying where it listens:\n{block}");
        std::thread::spawn(move || lines.for_each(drop));
        Ok(())
    }

    /// Takes over what earlier blocks exported and where they went, and hands it on.
    fn state(&self) -> String {
        let file = self.home.path().join(".session");
        format!(
            "set -eu\nif [ -f {0} ]; then . {0}; fi\n\
             trap 'code=$?; {{ export -p; printf \"cd %q\\n\" \"$PWD\"; }} > {0}; exit $code' EXIT",
            file.display()
        )
    }

    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        let beside = binary().parent().unwrap_or(Path::new("."));
        command
            .args(["-c", script])
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", beside.display()))
            .env("HOME", self.home.path())
            .env("NEXUS", root())
            // What the workspace was built from is there already.
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_HOME", tool_home("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", tool_home("RUSTUP_HOME", ".rustup"));
        if let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") {
            command.env("RUSTUP_TOOLCHAIN", toolchain);
        }
        command
    }
}

/// Where cargo and rustup keep their things: the one place in which the reader's home is not empty.
fn tool_home(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(default),
        PathBuf::from,
    )
}

/// The last id with this prefix, such as `apr-` and a UUID.
fn last_id(text: &str, prefix: &str) -> Option<String> {
    const UUID: usize = 36;
    text.rmatch_indices(prefix).find_map(|(at, _)| {
        let uuid = text.get(at + prefix.len()..at + prefix.len() + UUID)?;
        let fits = uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        fits.then(|| format!("{prefix}{uuid}"))
    })
}
