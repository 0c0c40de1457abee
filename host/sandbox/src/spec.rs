use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the helper is told on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) read: Vec<PathBuf>,
    pub(crate) read_exec: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
    pub(crate) cwd: PathBuf,
    pub(crate) cpu_s: u64,
    pub(crate) address_space: u64,
    pub(crate) file_size: u64,
    pub(crate) open_files: u64,
    pub(crate) means: Means,
}

/// How the helper confines the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Means {
    /// Landlock for files, seccomp for system calls.
    Landlock,
    /// bubblewrap at this path.
    Bubblewrap(PathBuf),
    /// Limits, a cleared environment and seccomp only.
    Unconfined,
}
