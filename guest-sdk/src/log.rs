//! What the caller and the operator see while the agent works.
//!
//! ```no_run
//! use nexus_agent::log;
//!
//! log::info!("valued {} positions", 3);
//! log::progress(0.5, "half of the pages");
//! ```

use std::fmt;

use crate::bindings::nexus::agent::log as wit;
pub use crate::bindings::nexus::agent::log::Level;

/// Writes one message. The macros [`debug!`], [`info!`], [`warn!`] and [`error!`] are shorter.
pub fn write(level: Level, message: impl fmt::Display) {
    wit::write(level, &message.to_string());
}

/// Tells how far the work has come, from 0.0 to 1.0, and at what.
pub fn progress(fraction: f64, message: impl fmt::Display) {
    wit::progress(fraction, &message.to_string());
}

/// Writes a message for developers.
#[doc(inline)]
pub use crate::__log_debug as debug;
/// Writes a message that something went wrong and the work could not be done.
#[doc(inline)]
pub use crate::__log_error as error;
/// Writes a message on what the agent does.
#[doc(inline)]
pub use crate::__log_info as info;
/// Writes a message that something is odd and the work goes on.
#[doc(inline)]
pub use crate::__log_warn as warn;

#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($message)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($message)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($message)+)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($message)+)) };
}
