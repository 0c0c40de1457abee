//! The gate from outside: real store, real audit trail, real vault.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "gate/approvals.rs"]
mod approvals;
#[path = "gate/binding.rs"]
mod binding;
#[path = "gate/crowds.rs"]
mod crowds;
#[path = "gate/display.rs"]
mod display;
#[path = "gate/edits.rs"]
mod edits;
#[path = "gate/first_use.rs"]
mod first_use;
#[path = "gate/house.rs"]
mod house;
#[path = "gate/left.rs"]
mod left;
#[path = "gate/policy.rs"]
mod policy;
#[path = "gate/raise.rs"]
mod raise;
#[path = "gate/refusals.rs"]
mod refusals;
#[path = "gate/rendering.rs"]
mod rendering;
#[path = "gate/restart.rs"]
mod restart;
#[path = "gate/shadow.rs"]
mod shadow;
#[path = "gate/shape.rs"]
mod shape;
#[path = "gate/standing.rs"]
mod standing;
#[path = "gate/trail.rs"]
mod trail;
#[path = "gate/vectors.rs"]
mod vectors;
