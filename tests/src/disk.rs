//! A host on a disk that is about to be full.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Host;

/// Free space that the host finds, beyond what its data directory has already.
const ROOM: u64 = 12 << 20;

/// Puts the data directory on a file system of its own, as large as it is and `ROOM`, and starts the
/// host there. What was in the directory is there, and outside nothing changes.
const SMALL_DISK: &str = r#"
set -e
data=$1 size=$2
shift 2
mkdir "$data.disk"
mount -t tmpfs -o size="$size",mode=700 tmpfs "$data.disk"
cp -a "$data/." "$data.disk/"
mount --bind "$data.disk" "$data"
exec "$@"
"#;

/// Lets no file grow beyond a number of blocks, where no file system can be mounted.
const SMALL_FILES: &str = r#"
trap '' XFSZ
ulimit -f $(($2 / 512))
shift 2
exec "$@"
"#;

/// How to enter a mount namespace here, if that is allowed.
fn namespace() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [
        &["unshare", "--mount"],
        &["unshare", "--user", "--map-root-user", "--mount"],
    ];
    WAYS.into_iter().find(|way| {
        let Ok(directory) = tempfile::tempdir() else {
            return false;
        };
        Command::new(way[0])
            .args(&way[1..])
            .args(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// The host on an existing data directory that has no more than `ROOM` left.
#[allow(
    clippy::print_stdout,
    reason = "which of the two it was belongs into the test's output"
)]
pub fn cramped(data: &Path, config: &str) -> anyhow::Result<Host> {
    let used = |path: &Path| -> std::io::Result<u64> { Ok(std::fs::metadata(path)?.len()) };
    let (way, script, size) = match namespace() {
        Some(way) => (way, SMALL_DISK, total(data)? + ROOM),
        None => (
            &["env"][..],
            SMALL_FILES,
            used(&data.join("store.redb"))? + ROOM,
        ),
    };
    println!(
        "the disk is small by {}",
        if way[0] == "env" {
            "a limit on the size of files"
        } else {
            "a file system of its own"
        }
    );
    let (data_text, size) = (data.to_string_lossy().into_owned(), size.to_string());
    let words = [way, &["sh", "-c", script, "sh", &data_text, &size]].concat();
    Host::builder()
        .data(data)
        .config(config)
        .through(&words)
        .start()
}

/// Bytes below a directory, in whole blocks.
fn total(directory: &Path) -> std::io::Result<u64> {
    let mut sum = 4096;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += match metadata.is_dir() {
            true => total(&entry.path())?,
            false => metadata.len().next_multiple_of(4096),
        };
    }
    Ok(sum)
}
