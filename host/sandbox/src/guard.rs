//! Kills what a host that was killed has left running.
//!
//! The first process of a job dies with its host. What that one has started, such as a compiler's linker,
//! does not: the kernel ties a process to its parent only. So a process beside the host is told of every
//! group that begins and ends, and once the host is gone kills those that are left.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::MODE;

/// Takes the place of a job's description.
pub(crate) const GUARD: &str = "guard";

/// The host's end of the guard.
#[derive(Default)]
pub(crate) struct Guard {
    /// The leaders of the groups that run.
    groups: BTreeSet<i32>,
    process: Option<Child>,
}

impl Guard {
    /// A group has begun.
    pub(crate) fn begun(&mut self, helper: &OsStr, leader: i32) {
        self.groups.insert(leader);
        if self.tell(&format!("+{leader}\n")).is_err() {
            // There is none yet, or somebody killed it.
            self.process = start(helper).ok();
            let all: String = self.groups.iter().map(|it| format!("+{it}\n")).collect();
            if self.tell(&all).is_err() {
                // The job itself still dies with the host.
                self.process = None;
            }
        }
    }

    /// Nothing is left of a group.
    pub(crate) fn ended(&mut self, leader: i32) {
        if self.groups.remove(&leader) {
            // Whoever is not there guards nothing.
            let _ = self.tell(&format!("-{leader}\n"));
        }
    }

    fn tell(&mut self, text: &str) -> std::io::Result<()> {
        let pipe = self.process.as_mut().and_then(|it| it.stdin.as_mut());
        let pipe = pipe.ok_or(std::io::ErrorKind::NotConnected)?;
        pipe.write_all(text.as_bytes())
    }
}

fn start(helper: &OsStr) -> std::io::Result<Child> {
    Command::new(helper)
        .args([MODE, GUARD])
        .env_clear()
        // What stops the host at its terminal does not stop the guard before it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Is the guard: returns once the host is gone and what it left is killed.
pub(crate) fn watch(told: impl BufRead) {
    for leader in left(told) {
        if let Some(leader) = Pid::from_raw(leader) {
            // It fails only where nothing is left to kill.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The groups that had begun and not ended when the host fell silent.
fn left(told: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    for line in told.lines().map_while(Result::ok) {
        let leader = |text: &str| text.parse::<i32>().ok().filter(|leader| *leader > 1);
        if let Some(leader) = line.strip_prefix('+').and_then(leader) {
            groups.insert(leader);
        } else if let Some(leader) = line.strip_prefix('-').and_then(leader) {
            groups.remove(&leader);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_is_left_to_kill() {
        // Group 1 is never a job's, and a line that was cut off says nothing.
        let told = "+17\n+18\n-17\n+1\n+-1\n+0\nnonsense\n+19\n-1";
        assert_eq!(left(told.as_bytes()), BTreeSet::from([18, 19]));
    }
}
