use std::path::PathBuf;

/// Why nothing can be compiled on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No compiler was found.
    #[error(
        "find `{program}`: it is not on PATH nor in ~/.cargo/bin; install Rust from https://rustup.rs, \
         then run `rustup target add wasm32-wasip2`"
    )]
    NoCompiler {
        /// What was looked for: `rustc` or `cargo`.
        program: &'static str,
    },
    /// The compiler that the operator named is not there.
    #[error(
        "find `{program}`: the configuration names {}, which is not there; correct it, or install Rust from \
         https://rustup.rs and run `rustup target add wasm32-wasip2`", .path.display()
    )]
    NotThere {
        /// What was looked for: `rustc` or `cargo`.
        program: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The compiler lacks the standard library for agents.
    #[error(
        "find the wasm32-wasip2 standard library of {}: run `rustup target add wasm32-wasip2`",
        .sysroot.display()
    )]
    NoTarget {
        /// Where it would be.
        sysroot: PathBuf,
    },
    /// The compiler is there and does not run.
    #[error("ask {} what it is: {message}", .program.display())]
    Broken {
        /// The compiler.
        program: PathBuf,
        /// What it said.
        message: String,
    },
    /// The libraries of agents could not be prepared.
    #[error("prepare the libraries that agents are linked with: {0}")]
    Warm(String),
    /// Files could not be written or read.
    #[error("{action} {}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
