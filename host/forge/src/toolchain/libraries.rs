//! How the libraries are made that agents are linked with: by the host for what it forges, and by its
//! build, which includes this file, for the templates.

use std::path::Path;
use std::process::Command;

/// What agents are compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip2";
/// The crates that agents name.
pub(crate) const CRATES: [&str; 3] = ["nexus_agent", "serde", "serde_json"];

/// A run of cargo that makes them.
pub(crate) struct LibraryBuild<'a> {
    pub(crate) cargo: &'a Path,
    pub(crate) rustc: &'a Path,
    /// The unpacked project, with the vendored crates in it.
    pub(crate) project: &'a Path,
    /// A home of cargo's own.
    pub(crate) home: &'a Path,
    /// Where the libraries are then found, in `TARGET/release/deps`, and what the compiler loads, in
    /// `release/deps`.
    pub(crate) target: &'a Path,
    /// Variables that cargo has from this process, beside those that finding a linker takes.
    pub(crate) variables: &'a [&'a str],
}

impl LibraryBuild<'_> {
    pub(crate) fn command(&self) -> Command {
        let vendor = self.project.join("vendor").to_string_lossy().into_owned();
        let mut command = Command::new(self.cargo);
        command
            .args(["build", "--release", "--offline", "--locked"])
            .args(["--target", TARGET])
            .args(["-p", "nexus-agent", "-p", "serde", "-p", "serde_json"])
            .args(["--config", "source.crates-io.replace-with='nexus-vendor'"])
            .arg("--config")
            .arg(format!(
                "source.nexus-vendor.directory={}",
                toml::Value::from(vendor)
            ))
            .current_dir(self.project)
            // The user's own cargo settings, and lints that may be running, must not change what
            // agents are made of.
            .env_clear()
            .envs(
                ["PATH", "HOME", "TMPDIR"]
                    .iter()
                    .chain(self.variables)
                    .filter_map(|name| std::env::var_os(name).map(|value| (*name, value))),
            )
            .env("CARGO_HOME", self.home)
            .env("CARGO_TARGET_DIR", self.target)
            .env("CARGO_BUILD_RUSTC_WRAPPER", "")
            .env("CARGO_INCREMENTAL", "0")
            .env("RUSTC", self.rustc)
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                format!("--remap-path-prefix={}=/forge", self.project.display()),
            );
        command
    }
}
