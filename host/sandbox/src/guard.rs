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
    /// Sees to it that there is a guard: the first, or another one for one that was killed.
    pub(crate) fn ready(&mut self, helper: &OsStr) {
        if self.process.as_mut().is_some_and(runs) {
            return;
        }
        self.process = match start(helper) {
            Ok(process) => Some(process),
            Err(error) => {
                // The first process of a job still dies with the host.
                tracing::warn!(%error, "nothing kills what a compiler has started, should the host be killed");
                None
            }
        };
        let all: String = self.groups.iter().map(|it| format!("+{it}\n")).collect();
        self.tell(&all);
    }

    /// A group has begun.
    pub(crate) fn begun(&mut self, leader: i32) {
        self.groups.insert(leader);
        self.tell(&format!("+{leader}\n"));
    }

    /// Nothing is left of a group.
    pub(crate) fn ended(&mut self, leader: i32) {
        if self.groups.remove(&leader) {
            self.tell(&format!("-{leader}\n"));
        }
    }

    fn tell(&mut self, text: &str) {
        let pipe = self.process.as_mut().and_then(|it| it.stdin.as_mut());
        if let Some(pipe) = pipe {
            // One that was killed is told everything anew once it is replaced.
            let _ = pipe.write_all(text.as_bytes());
        }
    }
}

/// Whether a process has not ended; one that has is collected.
fn runs(process: &mut Child) -> bool {
    matches!(process.try_wait(), Ok(None))
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
fn left(mut told: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(told.read_line(&mut line), Ok(1..)) {
            return groups;
        }
        // What was cut off names somebody else.
        let Some(line) = line.strip_suffix('\n') else {
            return groups;
        };
        let leader = |text: &str| text.parse::<i32>().ok().filter(|leader| *leader > 1);
        if let Some(leader) = line.strip_prefix('+').and_then(leader) {
            groups.insert(leader);
        } else if let Some(leader) = line.strip_prefix('-').and_then(leader) {
            groups.remove(&leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_is_left_to_kill() {
        // Group 1 is never a job's, and a line that was cut off says nothing.
        let told = "+17\n+18\n-17\n+1\n+-1\n+0\nnonsense\n+19\n";
        let running = BTreeSet::from([18, 19]);
        assert_eq!(left(told.as_bytes()), running);
        for cut in ["+12", "-1", "-19", "+"] {
            assert_eq!(left(format!("{told}{cut}").as_bytes()), running, "{cut}");
        }
    }
}
