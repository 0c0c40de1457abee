//! The binary by itself: copied into an empty directory, with a compiler and nothing else in reach.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use nexus_tests::host::binary;
use nexus_tests::origin::Origin;
use serde_json::{Value, json};

/// A directory with the binary in it, and the environment of someone who has just this and Rust.
struct Elsewhere {
    directory: tempfile::TempDir,
    path: String,
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Elsewhere {
    fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::copy(binary(), directory.path().join("nexus"))?;
        for empty in ["home", "cargo", "work"] {
            std::fs::create_dir(directory.path().join(empty))?;
        }
        // The compiler itself, as rustup's stand-in for it would look into the home directory.
        let sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()?;
        ensure!(sysroot.status.success(), "there is no rustc");
        let sysroot = String::from_utf8(sysroot.stdout)?;
        let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", sysroot.trim());
        Ok(Self { directory, path })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn nexus(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("nexus"));
        command
            .args(arguments)
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.path("home"))
            // Where the command line remembers the heads of audit trails, which no host may forget for it.
            .env("XDG_STATE_HOME", self.path("state"))
            .env("NEXUS_DATA", self.path("data"))
            .env("CARGO_HOME", self.path("cargo"))
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null());
        command
    }

    fn serve(&self, origin: &str) -> anyhow::Result<Serving> {
        let config = self.path("work/nexus.toml");
        std::fs::write(
            &config,
            format!("[egress]\nprivate_origins = [{origin:?}]\n"),
        )?;
        let mut child = self
            .nexus(&["serve", "--listen", "127.0.0.1:0", "--config", "nexus.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("stdout is piped")?;
        let serving = Serving(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line.starts_with("listening on "),
            "it did not start: {line:?}"
        );
        Ok(serving)
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_forges_with_nothing_beside_it_and_no_registry() -> anyhow::Result<()> {
    let origin = Origin::json(json!({ "symbol": "ETH", "price": 3000.5, "venue": "x" })).await?;
    let elsewhere = Elsewhere::new()?;
    let _serving = elsewhere.serve(&origin.url())?;

    let forged = elsewhere
        .nexus(&[
            "forge",
            "create",
            "eth-price",
            "fetch the price of ETH as JSON",
        ])
        .args(["--template", "http-json"])
        .args(["--set", &format!("origin={}", origin.url())])
        .args(["--set", "path=/price"])
        .output()?;
    ensure!(
        forged.status.success(),
        "{}",
        String::from_utf8_lossy(&forged.stderr)
    );

    let answer = elsewhere.nexus(&["invoke", "eth-price"]).output()?;
    ensure!(
        answer.status.success(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let answer: Value = serde_json::from_slice(&answer.stdout)?;
    assert_eq!(answer["price"], 3000.5);
    assert_eq!(origin.received().len(), 1);
    assert!(
        is_empty(&elsewhere.path("home")),
        "nothing is left outside of the data directory and of the state of the command line"
    );
    Ok(())
}
