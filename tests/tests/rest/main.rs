//! The services as JSON over HTTP: what a script with nothing but an HTTP client sees.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod calls;
mod doors;
mod guide;
mod openapi;
mod script;
mod streams;
