//! The threats that the host is built against, one test for each row of the threat model, named by
//! its number, and one for each limit that a hostile guest runs into.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod binding;
mod bombs;
mod browser;
mod compiling;
mod dropped_calls;
mod egress;
mod fatigue;
mod files;
mod flows;
mod forging;
mod guests;
mod headers;
mod held;
mod hostile;
#[path = "../../../host/gate/tests/gate/house.rs"]
#[expect(dead_code, reason = "the gate's own tests use the rest of it")]
mod house;
mod imports;
mod injected;
mod leaks;
mod limits;
mod logs;
mod nesting;
mod peers;
mod reuse;
mod rights;
mod sources;
mod storms;
mod support;
mod unbuilt;
mod wire;
