use std::time::Duration;

use nexus_sandbox::Limit;

use super::{Diagnostic, RemoteError};
use crate::toolchain;

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is longer than a forge takes.
    #[error("read the source: it has {bytes} bytes, and 262144 are allowed")]
    SourceTooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// The manifest is not valid.
    #[error("read the manifest")]
    Manifest(#[source] nexus_manifest::Error),
    /// The compiler refused the source.
    #[error("compile the source: {}", first(.0))]
    Rejected(Vec<Diagnostic>),
    /// The compiler ran into a limit, which a source can bring about.
    #[error("compile the source: the limit on {limit} was used up after {after:?}")]
    Exhausted {
        /// Which limit.
        limit: Limit,
        /// After how long.
        after: Duration,
    },
    /// The component is larger than a host takes.
    #[error("link the component: it has {bytes} bytes, and 33554432 are allowed")]
    ComponentTooLarge {
        /// How large it is.
        bytes: u64,
    },
    /// The component does not carry the manifest it was built with: the source
    /// exports no agent, or does so around the SDK.
    #[error(
        "find the manifest in the component: {0}; the source has to say `nexus_agent::export!(..)` once"
    )]
    NotAnAgent(String),
    /// Something else than a template was to be prebuilt.
    #[error("find a prebuilt component of {0}: only templates have one; have the source compiled")]
    NotPrebuilt(String),
    /// Another host was to compile it, and did not.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// There is no compiler, or it can't be used.
    #[error(transparent)]
    Toolchain(#[from] toolchain::Error),
    /// The compiler can't be confined on this machine.
    #[error(transparent)]
    Sandbox(#[from] nexus_sandbox::Error),
    /// Files of the job could not be written or read.
    #[error("{action} the files of the build")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
}

fn first(diagnostics: &[Diagnostic]) -> &str {
    diagnostics
        .first()
        .map_or("no reason was given", |diagnostic| &diagnostic.message)
}
