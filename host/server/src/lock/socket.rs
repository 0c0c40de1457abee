//! The socket at which the lock is engaged without token, runtime or network: whoever may open it owns
//! the data directory. One line in, one line of JSON out.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Inner, MOMENT, pause, spawn};

/// Its name in the data directory.
pub(crate) const SOCKET: &str = "lock.sock";
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);
const LINE_BYTES: u64 = 2_000;

/// How the lock stands, as the socket tells it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reply {
    /// Whether it is engaged.
    pub(crate) engaged: bool,
    /// Whether that survives the process.
    pub(crate) durable: bool,
    /// Why.
    pub(crate) reason: String,
    /// By whom.
    pub(crate) by: String,
    /// Milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// What was wrong with the request, if something was.
    pub(crate) error: String,
}

/// Listens for as long as the host lives. A path that is too long for a socket leaves the file and the
/// API, and is no reason not to start.
pub(super) fn serve(host: Weak<Inner>) -> io::Result<()> {
    let Some(inner) = host.upgrade() else {
        return Ok(());
    };
    let path = inner.data_dir.join(SOCKET);
    drop(inner);
    // Left behind by a process that was killed: the store is ours, so nobody listens there.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            tracing::warn!(path = %path.display(), "the path is too long for a socket; the file `lock` beside it engages the emergency lock");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    spawn("nexus-lock-socket", host, move |host| {
        match (listener.accept(), host.upgrade()) {
            // A client that misbehaves or leaves has engaged the lock or has not; nobody else is told.
            (Ok((stream, _)), Some(inner)) => drop(answer(&inner, &stream)),
            (Ok(_), None) => {}
            (Err(_), _) => pause(MOMENT),
        }
    })
}

/// Who is at the other end: the socket, and the user as the kernel knows it.
fn caller(stream: &UnixStream) -> String {
    match rustix::net::sockopt::socket_peercred(stream) {
        Ok(peer) => format!("socket (user {})", peer.uid.as_raw()),
        Err(_) => "socket".to_owned(),
    }
}

fn answer(inner: &Arc<Inner>, stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES)).read_line(&mut line)?;
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let mut error = String::new();
    match word {
        "engage" => inner.engage(rest, &caller(stream)),
        "status" => {}
        _ => "say `engage REASON` or `status`; only an operator's token lifts the lock"
            .clone_into(&mut error),
    }
    let standing = inner.standing();
    let engaged = standing.engaged;
    let reply = Reply {
        engaged: engaged.is_some(),
        durable: standing.durable,
        reason: engaged
            .as_ref()
            .map_or_else(String::new, |engaged| engaged.reason.clone()),
        by: engaged
            .as_ref()
            .map_or_else(String::new, |engaged| engaged.by.clone()),
        since_ms: engaged.map_or(0, |engaged| engaged.since_ms),
        error,
    };
    let mut text = serde_json::to_string(&reply).map_err(io::Error::other)?;
    text.push('\n');
    let told = (&*stream).write_all(text.as_bytes());
    // The store may take its time; who asked has its answer, and the next one is heard.
    if word == "engage" {
        inner.settle_aside();
    }
    told
}
