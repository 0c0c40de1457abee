#![doc = "Runs a program that may turn hostile: no network, no files but those named, no inherited variables, and hard limits."]
//!
//! A [`Job`] says what to run and what it may touch. [`Job::run`] starts the
//! host's own binary again as `sandbox-exec`, a mode that is single-threaded
//! from its first instruction: it sets resource limits, gives up every right
//! but the named ones (Landlock for files, seccomp for system calls) and only
//! then becomes the program. The host calls [`exec_main`] for that mode before
//! anything else in `main`:
//!
//! ```no_run
//! if std::env::args().nth(1).as_deref() == Some(nexus_sandbox::MODE) {
//!     nexus_sandbox::exec_main();
//! }
//! ```
//!
//! A job whose caller loses interest is killed; [`until`] stops work that runs jobs and
//! waits until nothing of them is left.
//!
//! Where the kernel has no Landlock, bubblewrap serves instead if it is
//! installed; where neither is there a job is refused unless it says
//! [`Job::allow_unsandboxed`].

mod bubblewrap;
mod confine;
mod error;
mod exec;
mod group;
mod guard;
mod job;
mod libraries;
mod probe;
mod seccomp;
mod spec;
mod until;

pub use error::Error;
pub use exec::exec_main;
pub use job::{Job, Limit, Limits, Output};
pub use libraries::Libraries;
pub use probe::{Support, probe, system_libraries};
pub use until::until;

/// The first argument that puts the host binary into helper mode.
pub const MODE: &str = "sandbox-exec";
