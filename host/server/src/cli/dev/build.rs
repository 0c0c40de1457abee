//! The author's own project, built by the author's own cargo.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use nexus_forge::toolchain::{self, Toolchain};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::cli::failure::Misuse;

/// A cargo project that is one agent.
pub(super) struct Project {
    directory: PathBuf,
    manifest: PathBuf,
}

/// What came of a build.
pub(super) enum Build {
    /// The component's file.
    Component(PathBuf),
    /// It does not compile; cargo has told why on stderr.
    Failed,
}

/// A line of cargo's JSON, as far as it matters here.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        filenames: Vec<PathBuf>,
    },
    #[serde(other)]
    Other,
}

impl Project {
    /// The project in this directory.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("failed to open {}", directory.display()))?;
        let manifest = directory.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(Misuse(format!(
                "{} has no Cargo.toml; name the directory of an agent's project, such as one made from a template",
                directory.display()
            ))
            .into());
        }
        Ok(Self {
            directory,
            manifest,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Builds it as it is deployed, with its own release profile.
    pub(super) async fn build(&self) -> anyhow::Result<Build> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let started = match self.start(Command::new(cargo)) {
            // Found where the host finds it, too: a shell may not have been told of it yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let found = Toolchain::find(&toolchain::Config::default()).await?;
                let mut cargo = Command::new(found.cargo());
                cargo.env("RUSTC", found.rustc());
                self.start(cargo)
            }
            started => started,
        };
        let started = started.context("failed to start cargo")?;
        let built = started.wait_with_output().await?;
        if !built.status.success() {
            return Ok(Build::Failed);
        }
        let component = self.component(&built.stdout).ok_or_else(|| {
            Misuse(format!(
                "{} does not make a component; its library needs crate-type = [\"cdylib\"]",
                self.manifest.display()
            ))
        })?;
        Ok(Build::Component(component))
    }

    fn start(&self, mut cargo: Command) -> io::Result<Child> {
        cargo
            .args(["build", "--release", "--target", "wasm32-wasip2"])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
    }

    /// The file that cargo says this project's own library is in.
    fn component(&self, messages: &[u8]) -> Option<PathBuf> {
        let messages = messages.split(|byte| *byte == b'\n');
        let artifacts = messages.filter_map(|line| serde_json::from_slice(line).ok());
        artifacts
            .filter_map(|message| match message {
                Message::CompilerArtifact {
                    manifest_path,
                    filenames,
                } if manifest_path == self.manifest => Some(filenames),
                _ => None,
            })
            .flatten()
            .rfind(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "wasm")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_component_is_taken() {
        let project = Project {
            directory: "/a".into(),
            manifest: "/a/Cargo.toml".into(),
        };
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/b/Cargo.toml","filenames":["/t/b.wasm"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","filenames":["/t/a.wasm","/t/liba.rlib"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        let found = project.component(messages.as_bytes());
        assert_eq!(found, Some("/t/a.wasm".into()));
        assert_eq!(project.component(b""), None);
    }
}
