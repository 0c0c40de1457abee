#![doc = include_str!("../API.md")]
#![doc(html_no_source)]

#[expect(unsafe_code, reason = "the component ABI is pointers and lengths; generated, and checked against wit/ by a test")]
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::unwrap_used,
    clippy::allow_attributes_without_reason,
    reason = "generated code follows its generator"
)]
#[doc(hidden)]
#[rustfmt::skip]
pub mod bindings;

#[cfg(feature = "reveal")]
#[expect(unsafe_code, reason = "as in `bindings`")]
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::unwrap_used,
    clippy::allow_attributes_without_reason,
    reason = "generated code follows its generator"
)]
#[doc(hidden)]
#[rustfmt::skip]
pub mod bindings_reveal;

pub mod bus;
pub mod config;
mod error;
pub mod http;
pub mod log;
pub mod memory;
pub mod prelude;
pub mod vault;

#[doc(hidden)]
#[path = "export.rs"]
pub mod __private;

pub use error::{Error, Failure, Result};
