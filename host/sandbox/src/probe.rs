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

    /// How a job is confined here, for people: the mechanism in use. `None` if by none.
    pub fn in_use(&self) -> Option<String> {
        match self.means()? {
            Means::Bubblewrap(path) => Some(format!("bubblewrap at {}", path.display())),
            _ => {
                let abi = self.landlock.unwrap_or_default();
                Some(format!("Landlock ABI {abi} and a system call filter"))
            }
        }
    }

    /// What the mechanism in use does not cover, for people.
    pub fn not_covered(&self) -> Vec<&'static str> {
        let Some(means) = self.means() else {
            return vec![
                "without a sandbox: files, processes and, where system calls can't be filtered, the network are open to whatever is compiled",
            ];
        };
        let mut open = Vec::new();
        match means {
            Means::Bubblewrap(_) => open.extend([
                "system calls are not filtered, only what they reach",
                "source can read in which directory it is compiled",
            ]),
            _ => {
                open.push(
                    "a compiler that source takes over can find out which files exist, their sizes and dates, though not what is in them",
                );
                if self.landlock.is_none_or(|abi| abi < 6) {
                    open.push(
                        "it can send signals to other processes of this user; that ends with Landlock ABI 6",
                    );
                }
            }
        }
        open.extend([
            "limits of processor time and memory hold for each process of a job; all of them together end by the clock, as a group",
            "what is compiled shares processors, caches and the disk's bandwidth with everything else; others can measure its load",
            "of a host that is killed the linker may run on to its end, within its limits; the files go at the next start",
            "bugs of the kernel",
        ]);
        open
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

#[cfg(test)]
mod tests {
    use super::*;

    fn support(landlock: Option<u32>, seccomp: bool, bubblewrap: bool) -> Support {
        Support {
            landlock,
            seccomp,
            bubblewrap: bubblewrap.then(|| "/usr/bin/bwrap".into()),
        }
    }

    #[test]
    fn the_mechanism_in_use_is_the_one_that_is_told() {
        let told = |support: Support| (support.in_use().unwrap_or_default(), support.not_covered());
        let (newest, few) = told(support(Some(6), true, true));
        assert_eq!(newest, "Landlock ABI 6 and a system call filter");
        let (older, more) = told(support(Some(4), true, true));
        assert_eq!(older, "Landlock ABI 4 and a system call filter");
        assert_eq!(more.len(), few.len() + 1);
        // Landlock alone leaves the network open, so it is not used alone.
        let (other, _) = told(support(Some(6), false, true));
        assert_eq!(other, "bubblewrap at /usr/bin/bwrap");
        let (none, all) = told(support(Some(6), false, false));
        assert_eq!(none, "");
        assert!(all[0].starts_with("without a sandbox"), "{all:?}");
    }
}
