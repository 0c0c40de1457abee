//! Whole forges: requests in, published agents out, over a real store, gate,
//! runtime and compiler.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod endpoint;
mod host;
mod model;
mod pipeline;
mod prebuilt;
mod scripted;
