//! Tries to reach the host's files by every function of the standard library that takes a path.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use nexus_agent::prelude::*;

/// What each try came to: `null` where it was refused, else what it did. `directory` is one of the
/// host's; `kept` and `inner/kept` in it are files.
pub(crate) fn all(directory: &str) -> Result<String> {
    let at = |name: &str| format!("{directory}/{name}");
    let kept = at("kept");
    let up = format!("{}{kept}", "../".repeat(20));
    let tries: Vec<(&str, std::io::Result<String>)> = vec![
        ("read", fs::read_to_string(&kept)),
        ("read by ..", fs::read_to_string(&up)),
        ("read by ./..", fs::read_to_string(format!("./{up}"))),
        ("read by inner ..", fs::read_to_string(at("inner/../kept"))),
        (
            "read by double slashes",
            fs::read_to_string(kept.replace('/', "//")),
        ),
        ("read relative", fs::read_to_string("kept")),
        (
            "read with a NUL",
            fs::read_to_string(format!("{kept}\0.txt")),
        ),
        (
            "read through /proc/self/root",
            fs::read_to_string(format!("/proc/self/root{kept}")),
        ),
        (
            "read through /proc/self/cwd",
            fs::read_to_string("/proc/self/cwd/Cargo.toml"),
        ),
        ("read through /dev/fd", fs::read_to_string("/dev/fd/3")),
        (
            "read /proc/self/environ",
            fs::read_to_string("/proc/self/environ"),
        ),
        ("read /etc/passwd", fs::read_to_string("/etc/passwd")),
        (
            "list",
            fs::read_dir(directory).map(|entries| entries.count().to_string()),
        ),
        (
            "list the root",
            fs::read_dir("/").map(|entries| entries.count().to_string()),
        ),
        (
            "list here",
            fs::read_dir(".").map(|entries| entries.count().to_string()),
        ),
        (
            "look at",
            fs::metadata(&kept).map(|found| found.len().to_string()),
        ),
        (
            "look at a link",
            fs::symlink_metadata(&kept).map(|found| found.len().to_string()),
        ),
        (
            "resolve",
            fs::canonicalize(&kept).map(|path| path.display().to_string()),
        ),
        (
            "create",
            File::create(at("made")).map(|_| "made".to_owned()),
        ),
        (
            "create anew",
            File::create_new(at("made")).map(|_| "made".to_owned()),
        ),
        (
            "write",
            fs::write(&kept, "changed").map(|()| "written".to_owned()),
        ),
        (
            "truncate",
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&kept)
                .map(|_| "cut".to_owned()),
        ),
        ("truncate what is open to read", read_and_truncate(&kept)),
        (
            "append",
            OpenOptions::new()
                .append(true)
                .open(&kept)
                .and_then(|mut file| file.write_all(b"more"))
                .map(|()| "more".to_owned()),
        ),
        (
            "rename",
            fs::rename(&kept, at("moved")).map(|()| "moved".to_owned()),
        ),
        (
            "rename out of a directory",
            fs::rename(at("inner/kept"), at("moved")).map(|()| "moved".to_owned()),
        ),
        (
            "copy",
            fs::copy(&kept, at("copied")).map(|bytes| bytes.to_string()),
        ),
        (
            "link",
            fs::hard_link(&kept, at("linked")).map(|()| "linked".to_owned()),
        ),
        (
            "link from outside",
            fs::hard_link("/etc/passwd", at("linked")).map(|()| "linked".to_owned()),
        ),
        (
            "follow a link",
            fs::read_link(at("pointer")).map(|path| path.display().to_string()),
        ),
        ("read through a link", fs::read_to_string(at("pointer"))),
        ("remove", fs::remove_file(&kept).map(|()| "gone".to_owned())),
        (
            "make a directory",
            fs::create_dir_all(at("a/b")).map(|()| "made".to_owned()),
        ),
        (
            "remove a directory",
            fs::remove_dir_all(at("inner")).map(|()| "gone".to_owned()),
        ),
        ("set permissions", permit(&kept)),
        (
            "go there",
            std::env::set_current_dir(directory).map(|()| "there".to_owned()),
        ),
    ];
    let tries: Vec<Value> = tries
        .into_iter()
        .map(|(what, result)| json!([what, result.ok()]))
        .collect();
    Ok(Value::from(tries).to_string())
}

fn read_and_truncate(path: &str) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    file.set_len(0)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn permit(path: impl AsRef<Path>) -> std::io::Result<String> {
    let mut permissions = fs::metadata(&path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions)?;
    Ok("set".to_owned())
}
