use std::path::PathBuf;

/// Why a job was not run to an end of its own.
///
/// A program that fails, or runs into a limit, is no error: see
/// [`Output`](crate::Output).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither Landlock nor bubblewrap can confine the program here.
    #[error(
        "confine the program: this kernel has no Landlock and `bwrap` is not installed; \
         use Linux 5.13 or later with Landlock enabled, or install bubblewrap"
    )]
    Unsupported,
    /// The helper could not be started.
    #[error("start the sandbox helper {}", .helper.display())]
    Start {
        /// The binary that was to be started.
        helper: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// The helper could not confine itself or could not become the program.
    /// The program did not run.
    #[error("set up the sandbox: {0}")]
    Setup(String),
    /// The job cannot be handed to the helper, for example because a path is
    /// not valid Unicode.
    #[error("describe the job to the sandbox helper")]
    Describe(#[source] serde_json::Error),
    /// Reading from or waiting for the program failed.
    #[error("follow the sandboxed program")]
    Follow(#[source] std::io::Error),
}
