//! Runs a program as on a kernel without Landlock: its system calls are answered with `ENOSYS`, and
//! no `bwrap` is on the path. For the tests of what a host does without a sandbox.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`, which have the same
/// numbers on every architecture.
const LANDLOCK: [i64; 3] = [444, 445, 446];
const ENOSYS: u32 = 38;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("name the program to run")?;
    let filter = SeccompFilter::new(
        LANDLOCK
            .map(|call| (call, Vec::new()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        std::env::consts::ARCH.try_into()?,
    )?;
    let filter: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&filter)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path).filter(|directory| !directory.join("bwrap").exists());
    let error = Command::new(&program)
        .args(words)
        .env("PATH", std::env::join_paths(path)?)
        .exec();
    Err(error).with_context(|| program.to_string_lossy().into_owned())
}
