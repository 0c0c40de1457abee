//! Source in, component out: the compiler in its sandbox.

mod builder;
mod diagnostic;
mod error;
mod flags;
mod remote;
mod rustc;

pub use builder::{Builder, Built, BuiltBy, Options};
pub use diagnostic::{Diagnostic, Level};
pub use error::Error;
pub(crate) use flags::FLAGS;
pub use remote::{Remote, RemoteError};
pub use rustc::arguments;
