//! `nexus lock`: stop every agent of a host, however busy it is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use nexus_proto::v1::{self, EngageLockRequest, GetStatusRequest, ReleaseLockRequest};

use super::{
    args::{Global, Lock},
    connection::Client,
    exit::Exit,
    output::Output,
    view::lock as view,
};
use crate::convert::timestamp;
use crate::lock::{FILE, Reply, SOCKET, make_file};

/// How long a busy host gets to answer at its socket.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn run(command: Lock, global: &Global, output: &Output) -> anyhow::Result<Exit> {
    let lock = match command {
        Lock::Engage { reason } => engage(reason, global, output).await?,
        Lock::Release => {
            let mut system = Client::connect(global)?.system();
            system
                .release_lock(ReleaseLockRequest {})
                .await?
                .into_inner()
        }
        Lock::Status => {
            let mut system = Client::connect(global)?.system();
            let status = system.get_status(GetStatusRequest {}).await?.into_inner();
            status
                .lock
                .context("this host knows of no emergency lock")?
        }
    };
    output.message(&lock, view::one)?;
    Ok(Exit::Success)
}

/// On this machine past the API, which may be busy: at the socket, or by the file if nobody listens.
async fn engage(reason: String, global: &Global, output: &Output) -> anyhow::Result<v1::Lock> {
    let given = |flag: &Option<String>| flag.as_ref().is_some_and(|text| !text.is_empty());
    let directory = crate::config::default_data_dir();
    if given(&global.endpoint) || given(&global.token) {
        let request = EngageLockRequest {
            reason: reason.clone(),
        };
        let engaged = async {
            let mut system = Client::connect(global)?.system();
            anyhow::Ok(system.engage_lock(request).await?.into_inner())
        };
        let error = match engaged.await {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        // A wrong endpoint or an old token in the environment is no reason to leave it open: whoever is
        // at this machine may stop what runs on it.
        let Ok(lock) = say(&directory, &reason) else {
            return Err(error.context(format!(
                "the lock is NOT engaged; on the host's own machine write the file {FILE} into its data directory"
            )));
        };
        output.note(&format!(
            "{error:#}; engaged at {} instead: that is the host of this machine's data directory",
            directory.join(SOCKET).display()
        ));
        return Ok(lock);
    }
    match say(&directory, &reason) {
        Ok(lock) => Ok(lock),
        Err(error) => {
            make_file(&directory, &reason)
                .with_context(|| format!("failed to make {}", directory.join(FILE).display()))?;
            output.note(&format!(
                "nobody answers at {} ({error}); the file {} is made: a host that runs there stops at once, and one that is started there starts locked",
                directory.join(SOCKET).display(),
                directory.join(FILE).display(),
            ));
            Ok(v1::Lock {
                engaged: true,
                durable: true,
                reason,
                principal: "file".to_owned(),
                engage_time: None,
            })
        }
    }
}

fn say(directory: &Path, reason: &str) -> anyhow::Result<v1::Lock> {
    let mut stream = UnixStream::connect(directory.join(SOCKET))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // One line is one request.
    let reason = reason.replace(char::is_control, " ");
    writeln!(stream, "engage {reason}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let reply: Reply = serde_json::from_str(&line)?;
    anyhow::ensure!(reply.engaged, "it answers {line:?}");
    Ok(v1::Lock {
        engaged: true,
        durable: reply.durable,
        reason: reply.reason,
        principal: reply.by,
        engage_time: Some(timestamp(reply.since_ms)),
    })
}
