//! Components through the runtime, with capabilities of this test's own.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod agents;
mod chains;
mod compiling;
#[path = "../../../store/tests/support/faulty.rs"]
mod faulty;
mod guests;
mod left;
mod limits;
mod listing;
mod outcomes;
mod people;
mod refused;
mod support;
mod wasi;
