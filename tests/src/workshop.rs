//! `nexus dev` on a project of its own, followed line by line.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::guests::root;
use crate::host::{Host, binary};

/// A copy of the template `blank`.
pub struct Project(TempDir);

/// A project, and `nexus dev` at work on it until this is dropped.
pub struct Workshop {
    /// The project.
    pub project: Project,
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Project {
    /// A project whose agent has this name.
    pub fn new(agent: &str) -> anyhow::Result<Self> {
        let project = Self(tempfile::tempdir()?);
        let template = root().join("templates/blank");
        let sdk = root().join("guest-sdk").canonicalize()?;
        fs::create_dir_all(project.path().join("src"))?;
        for file in ["Cargo.toml", "agent.toml", "src/lib.rs"] {
            let text = fs::read_to_string(template.join(file))?;
            let text = text
                .replace("name = \"blank\"", &format!("name = {agent:?}"))
                .replace("../../guest-sdk", &sdk.to_string_lossy());
            fs::write(project.path().join(file), text)?;
        }
        // The versions that every guest of the tests is built with.
        fs::copy(
            root().join("tests/agents/Cargo.lock"),
            project.path().join("Cargo.lock"),
        )?;
        Ok(project)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("project")
    }

    /// Saves one of its files, changed by `edit`.
    pub fn save(&self, file: &str, edit: impl FnOnce(String) -> String) -> anyhow::Result<()> {
        let file = self.path().join(file);
        Ok(fs::write(&file, edit(fs::read_to_string(&file)?))?)
    }

    /// Begins to work on it; `arguments` go to `nexus dev`.
    pub fn open(self, host: &Host, arguments: &[&str]) -> anyhow::Result<Workshop> {
        let errors = fs::File::create(self.0.path().join("stderr"))?;
        let mut child = Command::new(binary())
            .args(["dev", "--output", "json"])
            .args(arguments)
            .arg(self.path())
            .env("NEXUS_ENDPOINT", host.endpoint())
            .env("NEXUS_TOKEN", host.token())
            .env("XDG_STATE_HOME", self.0.path().join("state"))
            // What guests are linked with is built once for all of them.
            .env("CARGO_TARGET_DIR", root().join("tests/agents/target"))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()?;
        let told = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Workshop {
            project: self,
            child,
            told,
        })
    }
}

impl Workshop {
    /// What `nexus dev` told people.
    pub fn words(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.project.0.path().join("stderr"))?)
    }

    /// Reads on until a line has something at this JSON Pointer, and returns that. What could not be
    /// deployed is an error.
    pub fn until(&mut self, pointer: &str) -> anyhow::Result<Value> {
        loop {
            let mut line = String::new();
            if self.told.read_line(&mut line)? == 0 {
                bail!("nexus dev has ended: {}", self.words()?);
            }
            let told: Value = serde_json::from_str(&line)?;
            if let Some(found) = told.pointer(pointer) {
                return Ok(found.clone());
            }
            if let Some(error) = told.get("error") {
                bail!("nexus dev: {error}");
            }
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
