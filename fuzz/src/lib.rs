//! Fuzz targets: functions that take any bytes and panic when something that must hold does not.
//!
//! `make fuzz` runs them under libFuzzer, from the workspace in `libfuzzer/`; the tests of this crate
//! run each over its corpus and over mutations of it, so that a find that was added to the corpus
//! stays found. Nothing here is part of the host.
#![expect(clippy::unwrap_used, reason = "a panic is a find")]

mod audit;
mod bytes;
mod manifest;
mod messages;
mod policy;
mod renderer;
mod url;
mod vault;

pub use messages::{Check, REQUESTS};

/// A target: its name, which its corpus has too, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 7] = [
    ("audit", audit::run),
    ("manifest", manifest::run),
    ("messages", messages::run),
    ("policy", policy::run),
    ("renderer", renderer::run),
    ("url", url::run),
    ("vault", vault::run),
];
