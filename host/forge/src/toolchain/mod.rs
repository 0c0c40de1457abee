//! The Rust compiler of this machine, and what forged agents are linked with.

mod error;
mod find;
mod libraries;
mod warm;

pub use error::Error;
pub use find::{Config, Toolchain};
pub use warm::Warm;
pub(crate) use warm::{AGENT_LIBRARIES, COMPILER_LIBRARIES, LOCK, tempdir};
