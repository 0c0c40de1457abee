use std::any::Any;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::exec::{MESSAGE, NOT_STARTED};
use crate::group::Group;
use crate::spec::{Means, Spec};
use crate::until::hold;
use crate::{Error, MODE, probe};

/// A program to run confined.
///
/// Made by [`Job::new`] with no rights at all: the program can read and run
/// itself, and nothing more. Everything else is named.
#[derive(Debug, Clone)]
pub struct Job {
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<String>,
    /// All its variables; none are inherited.
    pub env: Vec<(String, String)>,
    /// Files and directories it may read. What does not exist is passed over.
    pub read: Vec<PathBuf>,
    /// Files and directories it may read and run, libraries among them:
    /// see [`system_libraries`](crate::system_libraries).
    pub read_exec: Vec<PathBuf>,
    /// Files and directories it may read and change. Each has to exist.
    pub write: Vec<PathBuf>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// What it may use up.
    pub limits: Limits,
    /// What it reads on standard input.
    pub stdin: Vec<u8>,
    /// Bytes kept of each of its two outputs; one more ends the job.
    pub output_cap: usize,
    /// The binary whose helper mode is used; the running one if `None`.
    pub helper: Option<PathBuf>,
    /// Run it even where it can't be confined. For the operator to say.
    pub allow_unsandboxed: bool,
    /// Dropped when no process of the job is left, not before: such as the owner of a directory
    /// that it writes to.
    pub keeps: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a job may use up. CPU time and memory count per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Seconds of CPU time.
    pub cpu_s: u64,
    /// Bytes of address space.
    pub address_space: u64,
    /// Bytes of the largest file.
    pub file_size: u64,
    /// Open files.
    pub open_files: u64,
    /// Time on the clock for the whole job.
    pub wall: Duration,
}

impl Default for Limits {
    /// 20 s of CPU, 1 GiB of memory, 64 MiB a file, 256 open files, 30 s.
    fn default() -> Self {
        Self {
            cpu_s: 20,
            address_space: 1 << 30,
            file_size: 64 << 20,
            open_files: 256,
            wall: Duration::from_secs(30),
        }
    }
}

/// A limit that ended a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::cpu_s`].
    Cpu,
    /// [`Limits::address_space`], as far as the end of the program tells.
    Memory,
    /// [`Limits::file_size`].
    FileSize,
    /// [`Limits::wall`].
    Wall,
    /// [`Job::output_cap`].
    Output,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "CPU time",
            Self::Memory => "memory",
            Self::FileSize => "file size",
            Self::Wall => "time",
            Self::Output => "output",
        })
    }
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status of the program.
    pub status: ExitStatus,
    /// What it wrote, up to the cap.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, up to the cap.
    pub stderr: Vec<u8>,
    /// The limit that ended it, if one did.
    pub exhausted: Option<Limit>,
}

impl Job {
    /// A job without any right, with the default [`Limits`] and 1 MiB of each
    /// output.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            read: Vec::new(),
            read_exec: Vec::new(),
            write: Vec::new(),
            cwd: PathBuf::from("/"),
            limits: Limits::default(),
            stdin: Vec::new(),
            output_cap: 1 << 20,
            helper: None,
            allow_unsandboxed: false,
            keeps: None,
        }
    }

    /// Runs the program to its end or its first exhausted limit.
    ///
    /// When this returns no process of the job is left. If its future is
    /// dropped, or the host dies, they are killed.
    pub async fn run(self) -> Result<Output, Error> {
        let means = match probe().means() {
            Some(means) => means,
            None if self.allow_unsandboxed => Means::Unconfined,
            None => return Err(Error::Unsupported),
        };
        let helper = match &self.helper {
            Some(helper) => helper.clone(),
            None => std::env::current_exe().map_err(Error::Follow)?,
        };
        let limits = self.limits;
        let spec = Spec {
            program: self.program,
            args: self.args,
            env: self.env,
            read: self.read,
            read_exec: self.read_exec,
            write: self.write,
            cwd: self.cwd,
            cpu_s: limits.cpu_s,
            address_space: limits.address_space,
            file_size: limits.file_size,
            open_files: limits.open_files,
            means,
        };
        let spec = serde_json::to_string(&spec).map_err(Error::Describe)?;
        let mut command = Command::new(&helper);
        command.arg(MODE).arg(spec).env_clear();
        let (stdin, cap, kept) = (self.stdin, self.output_cap, (self.keeps, hold()));
        let (wanted, given_up) = oneshot::channel::<()>();
        // On a task of its own: who loses interest in it need not wait until it is gone.
        let followed = tokio::spawn(async move {
            let mut group = Group::start(command)
                .await
                .map_err(|source| Error::Start { helper, source })?;
            let output = tokio::select! {
                biased;
                output = follow(&mut group, &stdin, cap, limits.wall) => output,
                _ = given_up => {
                    group.end().await.map_err(Error::Follow)?;
                    Err(Error::Follow(std::io::ErrorKind::Interrupted.into()))
                }
            };
            drop(kept);
            output
        });
        let output = followed.await;
        drop(wanted);
        output.map_err(|error| Error::Follow(std::io::Error::other(error)))?
    }
}

/// Why following stopped before the program's own end.
enum Stop {
    TooMuchOutput,
    Io(std::io::Error),
}

async fn follow(
    group: &mut Group,
    stdin: &[u8],
    cap: usize,
    wall: Duration,
) -> Result<Output, Error> {
    let missing = || Error::Follow(std::io::Error::other("a pipe to the program is missing"));
    let mut to = group.child.stdin.take().ok_or_else(missing)?;
    let from = group.child.stdout.take().ok_or_else(missing)?;
    let errors = group.child.stderr.take().ok_or_else(missing)?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());

    let ended = {
        let feed = async {
            // A program need not read what it is given.
            let _ = to.write_all(stdin).await;
            drop(to);
            Ok(())
        };
        let wait = async {
            let status = group.child.wait().await.map_err(Stop::Io)?;
            // What it left behind would hold the pipes open.
            group.kill();
            Ok(status)
        };
        let all = async {
            tokio::try_join!(
                wait,
                feed,
                read(from, &mut stdout, cap),
                read(errors, &mut stderr, cap)
            )
        };
        tokio::time::timeout(wall, all).await
    };
    let (status, stopped) = match ended {
        Ok(Ok((status, ..))) => (status, None),
        Ok(Err(Stop::Io(error))) => return Err(Error::Follow(error)),
        Ok(Err(Stop::TooMuchOutput)) => (
            group.end().await.map_err(Error::Follow)?,
            Some(Limit::Output),
        ),
        Err(_elapsed) => (group.end().await.map_err(Error::Follow)?, Some(Limit::Wall)),
    };
    if status.code() == Some(NOT_STARTED) && stderr.starts_with(MESSAGE.as_bytes()) {
        let text = String::from_utf8_lossy(&stderr[MESSAGE.len()..]);
        return Err(Error::Setup(text.trim_end().to_owned()));
    }
    let exhausted = stopped.or_else(|| exhausted(status, &stderr));
    Ok(Output {
        status,
        stdout,
        stderr,
        exhausted,
    })
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    into: &mut Vec<u8>,
    cap: usize,
) -> Result<(), Stop> {
    let mut limited = (&mut from).take(cap as u64);
    limited.read_to_end(into).await.map_err(Stop::Io)?;
    let mut more = [0; 1];
    match from.read(&mut more).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(Stop::TooMuchOutput),
        Err(error) => Err(Stop::Io(error)),
    }
}

/// Reads from the end of a program which limit it ran into.
fn exhausted(status: ExitStatus, stderr: &[u8]) -> Option<Limit> {
    match status.signal() {
        Some(libc::SIGXCPU) => Some(Limit::Cpu),
        Some(libc::SIGXFSZ) => Some(Limit::FileSize),
        // Nothing of ours killed it, so the kernel did, for want of memory.
        Some(libc::SIGKILL) => Some(Limit::Memory),
        _ if status.success() => None,
        _ => {
            let text = String::from_utf8_lossy(stderr).to_lowercase();
            let signs = [
                "memory allocation of",
                "out of memory",
                "cannot allocate memory",
            ];
            signs
                .iter()
                .any(|sign| text.contains(sign))
                .then_some(Limit::Memory)
        }
    }
}
