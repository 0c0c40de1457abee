//! Calls any function of any capability, as its input says, and answers what came of each call.
//!
//! The input is a list of steps that run in order and share their handles; see `step.rs` for the arguments.
//! A read of `/price` is:
//!
//! ```json
//! [{"call": "http.origin.open", "url": "https://probe.example.com", "as": "o"},
//!  {"call": "http.origin.request", "on": "o", "method": "get", "target": "/price", "as": "r"},
//!  {"call": "http.request.send", "on": "r", "as": "p"},
//!  {"call": "http.pending.wait", "on": "p"}]
//! ```
//!
//! and the output has one element for each step: `{"ok": ...}` or `{"error": "<code>", "text": "..."}`. A step
//! that fails does not end the run unless a later one needs its handle.

mod handles;
mod step;

use nexus_agent::Failure;
use nexus_agent::prelude::Value;

nexus_agent::export!(invoke);

fn invoke(steps: Vec<step::Step>) -> Result<Vec<Value>, Failure> {
    let mut handles = handles::Handles::default();
    steps.iter().map(|step| step.run(&mut handles)).collect()
}
