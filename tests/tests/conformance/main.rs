//! Two public check-lists for approvals and agentic actions, one test for each line: A1 to A11, the
//! action-bound approval protocol, and chapter C9 of OWASP AISVS 1.0. `docs/conformance.md` says what
//! each line asks for.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod aisvs;
#[path = "../../../host/gate/tests/gate/house.rs"]
#[expect(dead_code, reason = "the gate's own tests use the rest of it")]
mod house;
mod office;
mod protocol;
