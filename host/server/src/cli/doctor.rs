//! `nexus doctor`: what works on this machine, and how to mend the rest.

mod models;

use std::{
    io,
    path::{Path, PathBuf},
};

use nexus_forge::toolchain::{self, Toolchain};
use nexus_manifest::error_chain;
use nexus_proto::v1::{GetStatusRequest, check};
use serde::Serialize;

use super::{
    args::{Doctor, Global},
    connection::Client,
    exit::Exit,
    failure,
    output::Output,
    text::Table,
};
use crate::config::{BuildHost, Config};

/// Whether a part works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Not there, and only what needs it is refused.
    Missing,
    Failed,
    /// Nothing to mend, and good to know.
    Note,
}

/// One part of the machine.
#[derive(Debug, Serialize)]
struct Finding {
    part: &'static str,
    state: State,
    /// What was found or, if it does not work, what to do.
    message: String,
}

impl Finding {
    fn new(part: &'static str, state: State, message: impl Into<String>) -> Self {
        Self {
            part,
            state,
            message: message.into(),
        }
    }
}

pub(crate) async fn run(
    arguments: &Doctor,
    global: &Global,
    output: &Output,
) -> anyhow::Result<Exit> {
    let (config, mut findings) = configuration(arguments.config.as_deref());
    let data = arguments.data.clone().unwrap_or_else(|| config.data_dir());
    findings.push(compiler(&config).await);
    findings.extend(config.forge.remote.as_ref().map(build_host));
    findings.extend(sandbox(&config));
    findings.push(data_directory(&data));
    let host = host(global).await;
    let runs = host.iter().any(|finding| finding.state == State::Ok);
    if runs && arguments.config.is_none() {
        // Its configuration is not known here, and the one in force without a file is not its.
        findings.push(models::with_the_host());
    } else {
        findings.extend(models::findings(&config).await);
    }
    findings.extend(host);

    if output.is_json() {
        output.json(&serde_json::json!({ "checks": findings }))?;
    } else {
        let mut table = Table::new(["PART", "STATE", ""]);
        for finding in &findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::Missing => "missing",
                State::Failed => "FAILED",
                State::Note => "note",
            };
            table.row([
                finding.part.to_owned(),
                state.to_owned(),
                finding.message.clone(),
            ]);
        }
        output.text(&table.to_string())?;
    }
    let failed = findings
        .iter()
        .any(|finding| finding.state == State::Failed);
    Ok(if failed { Exit::Error } else { Exit::Success })
}

fn configuration(file: Option<&Path>) -> (Config, Vec<Finding>) {
    const PART: &str = "configuration";
    let Some(file) = file else {
        return (Config::default(), Vec::new());
    };
    match Config::load(file) {
        Ok(config) => (
            config,
            vec![Finding::new(PART, State::Ok, file.display().to_string())],
        ),
        Err(error) => (
            Config::default(),
            vec![Finding::new(PART, State::Failed, error_chain(&error))],
        ),
    }
}

async fn compiler(config: &Config) -> Finding {
    const PART: &str = "compiler";
    let wanted = toolchain::Config {
        rustc: config.forge.rustc.clone(),
        cargo: config.forge.cargo.clone(),
    };
    match Toolchain::find(&wanted).await {
        Ok(found) => {
            let version = found.version().lines().next().unwrap_or_default();
            Finding::new(PART, State::Ok, format!("{version}, with wasm32-wasip2"))
        }
        // Where there is none, all works that needs none.
        Err(error @ (toolchain::Error::NoCompiler { .. } | toolchain::Error::NoTarget { .. })) => {
            let message = format!(
                "templates are forged without one, the modes source and model need it: {}",
                error_chain(&error)
            );
            Finding::new(PART, State::Missing, message)
        }
        Err(error) => Finding::new(
            PART,
            State::Failed,
            format!("failed to {}", error_chain(&error)),
        ),
    }
}

/// Who compiles for this host where it is asked to.
fn build_host(host: &BuildHost) -> Finding {
    const PART: &str = "building host";
    let missing = match (&host.token_env, &host.token_file) {
        (Some(name), None) => std::env::var_os(name)
            .is_none_or(|token| token.is_empty())
            .then(|| {
                format!("the environment variable {name} is not set; it is to hold a token of it")
            }),
        (None, Some(file)) => (!file.is_file()).then(|| {
            format!(
                "{} is not there; it is to hold a token of it",
                file.display()
            )
        }),
        _ => Some("set `token_env` or `token_file` under [forge.remote], and not both".to_owned()),
    };
    match missing {
        Some(what) => Finding::new(PART, State::Failed, format!("{}: {what}", host.url)),
        None => {
            let when = if host.always {
                "every source"
            } else {
                "what is asked for"
            };
            Finding::new(PART, State::Ok, format!("{} compiles {when}", host.url))
        }
    }
}

/// What confines the compilers here, within which limits, and what it does not cover.
fn sandbox(config: &Config) -> Vec<Finding> {
    const PART: &str = "sandbox";
    let support = nexus_sandbox::probe();
    let found = match support.in_use() {
        Some(means) => {
            let limits = crate::host::build_limits(&config.forge);
            let told = format!(
                "{means}; each process gets {} s of processor time, {} MiB of memory and {} MiB a file, and a job {} s by the clock",
                limits.cpu_s,
                limits.address_space >> 20,
                limits.file_size >> 20,
                limits.wall.as_secs(),
            );
            Finding::new(PART, State::Ok, told)
        }
        None if config.forge.allow_unsandboxed => Finding::new(
            PART,
            State::Missing,
            "agents are compiled unconfined, as configured",
        ),
        None => Finding::new(
            PART,
            State::Failed,
            "nothing confines the compiler, so nothing is forged: use a kernel with Landlock (5.13 or \
             later), install bubblewrap, or set `allow_unsandboxed = true` under [forge]",
        ),
    };
    let mut findings = vec![found];
    if support.confines() || config.forge.allow_unsandboxed {
        let open = support.not_covered().into_iter();
        findings.extend(open.map(|open| Finding::new("not covered", State::Note, open)));
    }
    findings
}

/// The directory, or the nearest one above it in which it would be made.
fn data_directory(directory: &Path) -> Finding {
    const PART: &str = "data directory";
    let existing = directory
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let there = existing == directory;
    match writable(&existing) {
        Ok(()) if there => Finding::new(PART, State::Ok, directory.display().to_string()),
        Ok(()) => Finding::new(
            PART,
            State::Ok,
            format!("{}, made by the first `nexus serve`", directory.display()),
        ),
        Err(error) => Finding::new(
            PART,
            State::Failed,
            format!(
                "{} cannot be written to: {error}; choose another with --data",
                existing.display()
            ),
        ),
    }
}

fn writable(directory: &Path) -> io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}

/// Asks the host how it is, if one runs.
async fn host(global: &Global) -> Vec<Finding> {
    const PART: &str = "host";
    let client = match Client::connect(global) {
        Ok(client) => client,
        Err(error) => return vec![Finding::new(PART, State::Missing, error.to_string())],
    };
    let status = match client.system().get_status(GetStatusRequest {}).await {
        Ok(status) => status.into_inner(),
        Err(error) => {
            let message = failure::describe_status(&error).replace("\n ", ";");
            return vec![Finding::new(PART, State::Missing, message)];
        }
    };
    let mut findings = vec![Finding::new(
        PART,
        State::Ok,
        format!("version {}, {} agents", status.version, status.agents),
    )];
    for check in status.checks {
        let state = match check.state() {
            check::State::Ok => State::Ok,
            check::State::Missing => State::Missing,
            check::State::Failed | check::State::Unspecified => State::Failed,
        };
        let message = format!("{}: {}", check.part, check.message);
        findings.push(Finding::new(PART, state, message.trim_end_matches(": ")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_is_yet_to_be_made_is_fine() {
        let directory = tempfile::tempdir().expect("a directory");
        let finding = data_directory(&directory.path().join("a/b"));
        assert_eq!(finding.state, State::Ok);
        assert!(
            !directory.path().join("a").exists(),
            "looking must not make it"
        );
    }
}
