use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};

use crate::spec::Means;

/// What this machine offers to confine a program with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// The newest Landlock ABI whose rights the kernel enforces, if any.
    /// From 4 on it denies TCP, from 6 on signals to others too.
    pub landlock: Option<u32>,
    /// Whether the kernel filters system calls.
    pub seccomp: bool,
    /// Where bubblewrap is, if it is installed.
    pub bubblewrap: Option<PathBuf>,
}

impl Support {
    /// Whether a program can be confined here.
    pub fn confines(&self) -> bool {
        (self.landlock.is_some() && self.seccomp) || self.bubblewrap.is_some()
    }

    pub(crate) fn means(&self) -> Option<Means> {
        match (&self.landlock, self.seccomp, &self.bubblewrap) {
            (Some(_), true, _) => Some(Means::Landlock),
            (_, _, Some(path)) => Some(Means::Bubblewrap(path.clone())),
            _ => None,
        }
    }
}

/// Finds out what this machine offers, without changing the calling process.
pub fn probe() -> Support {
    Support {
        landlock: landlock_abi(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
            || std::fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| status.contains("Seccomp:")),
        bubblewrap: std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|directory| directory.join("bwrap"))
                .find(|candidate| candidate.is_file())
        }),
    }
}

/// Directories in which a dynamically linked program finds its loader and
/// libraries, as far as they exist here. Give them as
/// [`Job::read_exec`](crate::Job::read_exec).
pub fn system_libraries() -> Vec<PathBuf> {
    [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/nix/store",
        "/etc/ld.so.cache",
    ]
    .iter()
    .map(PathBuf::from)
    .filter(|path| path.exists())
    .collect()
}

/// Asks for ever newer rights until the kernel refuses to make the ruleset.
fn landlock_abi() -> Option<u32> {
    let levels = [
        (ABI::V6, 6),
        (ABI::V5, 5),
        (ABI::V4, 4),
        (ABI::V3, 3),
        (ABI::V2, 2),
        (ABI::V1, 1),
    ];
    levels.into_iter().find_map(|(abi, number)| {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
            .ok()?;
        let ruleset = if number >= 4 {
            ruleset.handle_access(AccessNet::from_all(abi)).ok()?
        } else {
            ruleset
        };
        let ruleset = if number >= 6 {
            ruleset.scope(Scope::from_all(abi)).ok()?
        } else {
            ruleset
        };
        ruleset.create().ok().map(|_| number)
    })
}
