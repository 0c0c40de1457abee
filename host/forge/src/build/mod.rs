//! Source in, component out: the compiler in its sandbox.

mod builder;
mod diagnostic;
mod error;
mod rustc;

pub use builder::{Builder, Built, Options};
pub use diagnostic::{Diagnostic, Level};
pub use error::Error;
pub use rustc::arguments;
