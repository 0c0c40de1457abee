use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::job::Job;
use crate::probe::system_libraries;

/// The files that dynamically linked programs are started with: their loader and libraries, and
/// nothing beside them.
///
/// A job whose program comes with these can read no other file of the system. Where they can't be
/// found out, the [system's directories](system_libraries) stand in for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libraries {
    files: Vec<PathBuf>,
    /// Directories in which the loader would not look by itself.
    search: Option<String>,
}

/// Libraries that are asked for only once a program runs, by what it loads then.
const COMPANIONS: &[&str] = &[
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];

impl Libraries {
    /// Asks the loader what these programs are started with. They are not run themselves, unless
    /// they are linked statically: then each is called with `--version`.
    ///
    /// Blocks for some milliseconds.
    pub fn of(programs: &[&Path]) -> Self {
        let mut found = Found::default();
        for program in programs {
            let listed = Command::new(program)
                .arg("--version")
                .env_clear()
                .env("LD_TRACE_LOADED_OBJECTS", "1")
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output();
            if let Ok(listed) = listed {
                found.add(&String::from_utf8_lossy(&listed.stdout));
            }
        }
        found.finish()
    }

    /// Whether they were found out: otherwise whole directories stand in for them.
    pub fn are_exact(&self) -> bool {
        self.files.iter().all(|file| file.is_file())
    }

    /// Gives a job these files, to read and to run.
    pub fn grant(&self, job: &mut Job) {
        job.read_exec.extend(self.files.iter().cloned());
        if let Some(search) = &self.search {
            job.env.push(("LD_LIBRARY_PATH".to_owned(), search.clone()));
        }
    }
}

#[derive(Default)]
struct Found {
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

impl Found {
    /// Reads what the loader lists, a library a line: `NAME => PATH (ADDRESS)`, and itself without a
    /// name.
    fn add(&mut self, listed: &str) {
        for line in listed.lines() {
            let Some((line, _address)) = line.trim().rsplit_once(" (0x") else {
                continue;
            };
            let (named, path) = match line.split_once(" => ") {
                Some((_, path)) => (true, Path::new(path)),
                None => (false, Path::new(line)),
            };
            if !path.is_absolute() || !path.is_file() {
                continue;
            }
            // Found beside the program, by its own say.
            if path.components().any(|part| part.as_os_str() == "..") {
                self.files
                    .extend(std::fs::canonicalize(path).into_iter().collect::<Vec<_>>());
                continue;
            }
            self.files.insert(path.to_owned());
            if let (true, Some(directory)) = (named, path.parent()) {
                self.directories.insert(directory.to_owned());
            }
        }
    }

    fn finish(mut self) -> Libraries {
        if self.files.is_empty() {
            return Libraries {
                files: system_libraries(),
                search: None,
            };
        }
        for directory in &self.directories {
            let companions = COMPANIONS.iter().map(|name| directory.join(name));
            self.files.extend(companions.filter(|path| path.is_file()));
        }
        let mut unusual = self.directories.iter().filter(|path| !is_usual(path));
        let search = unusual.next().is_some().then(|| {
            let all = self.directories.iter();
            let all: Vec<_> = all.map(|path| path.to_string_lossy()).collect();
            all.join(":")
        });
        Libraries {
            files: self.files.into_iter().collect(),
            search,
        }
    }
}

/// Whether every loader looks there.
fn is_usual(directory: &Path) -> bool {
    let roots = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
    let is_root = |path: &Path| roots.iter().any(|root| path == Path::new(root));
    let multiarch = directory
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains("-linux-"));
    is_root(directory) || (multiarch && directory.parent().is_some_and(is_root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_program_are_named_one_by_one() {
        let found = Libraries::of(&[Path::new("/bin/sh")]);
        assert!(found.are_exact(), "{found:?}");
        let mut job = Job::new("/bin/sh");
        found.grant(&mut job);
        assert!(job.read_exec.iter().all(|file| file.is_file()), "{job:?}");
        let loader = |file: &PathBuf| file.to_string_lossy().contains("ld-");
        assert!(job.read_exec.iter().any(loader), "{job:?}");
    }

    #[test]
    fn what_is_linked_to_nothing_gets_the_directories() {
        let found = Libraries::of(&[Path::new("/nowhere/tool")]);
        assert_eq!(found.files, system_libraries());
        assert!(!found.are_exact());
    }

    #[test]
    fn only_unusual_directories_are_named_to_the_loader() {
        for usual in ["/lib64", "/usr/lib", "/lib/aarch64-linux-gnu"] {
            assert!(is_usual(Path::new(usual)), "{usual}");
        }
        for unusual in ["/opt/lib", "/usr/lib/tool", "/nix/store/x-linux-y"] {
            assert!(!is_usual(Path::new(unusual)), "{unusual}");
        }
    }
}
