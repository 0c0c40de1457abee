//! The file whose mere presence is an engaged lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{Inner, MOMENT, pause, spawn};

/// Its name in the data directory.
pub(crate) const FILE: &str = "lock";

/// Whether it is there, whatever it is.
pub(super) fn exists(data_dir: &Path) -> bool {
    fs::symlink_metadata(data_dir.join(FILE)).is_ok()
}

/// What whoever made it has written into it.
pub(super) fn reason(data_dir: &Path) -> String {
    let mut text = Vec::new();
    // Only what is a file for certain: reading a pipe could wait for ever.
    let path = data_dir.join(FILE);
    if fs::symlink_metadata(&path).is_ok_and(|file| file.is_file())
        && let Ok(file) = File::open(&path)
    {
        // An unreadable file is a lock without a reason.
        let _ = file.take(1_000).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() {
        format!("the file {FILE} was made in the data directory")
    } else {
        text
    }
}

/// Makes it, durably. That it is there counts; its text is written if there is room.
pub(crate) fn put(data_dir: &Path, reason: &str) -> io::Result<()> {
    let path = data_dir.join(FILE);
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    let written = writeln!(file, "{reason}").and_then(|()| file.sync_all());
    if let Err(error) = written {
        tracing::warn!(%error, "the file of the emergency lock is there without its reason");
    }
    File::open(data_dir)?.sync_all()
}

/// Removes it, durably.
pub(super) fn remove(data_dir: &Path) -> io::Result<()> {
    let path = data_dir.join(FILE);
    let removed = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => fs::remove_dir(&path),
        _ => fs::remove_file(&path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(data_dir)?.sync_all(),
    }
}

/// How long whoever makes the file gets to say why.
const WRITING: Duration = Duration::from_millis(20);

/// Engages the lock whenever the file appears. Nothing polls: the kernel tells.
pub(super) fn watch(host: Weak<Inner>) -> io::Result<()> {
    let Some(inner) = host.upgrade() else {
        return Ok(());
    };
    let notices = inotify::init(CreateFlags::CLOEXEC)?;
    let appearing = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&notices, &inner.data_dir, appearing)?;
    look(&inner);
    drop(inner);
    spawn("nexus-lock-file", host, move |host| {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // What happened does not matter, only how things are now.
        let told = inotify::Reader::new(&notices, &mut buffer).next().is_ok();
        if let Some(inner) = host.upgrade() {
            look(&inner);
        }
        if !told {
            pause(MOMENT);
        }
    })
}

fn look(inner: &Arc<Inner>) {
    if exists(&inner.data_dir) && inner.lock.check().is_ok() {
        if fs::metadata(inner.data_dir.join(FILE)).is_ok_and(|file| file.len() == 0) {
            // A shell makes the file first and then writes the reason into it.
            pause(WRITING);
        }
        inner.engage(&reason(&inner.data_dir), "file");
        inner.settle();
    }
}
