//! Effects from outside: real store, vault and gate, servers on loopback that record what reaches them.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "effects/beside.rs"]
mod beside;
#[path = "effects/house.rs"]
mod house;
#[path = "effects/http.rs"]
mod http;
#[path = "effects/memory.rs"]
mod memory;
#[path = "effects/network.rs"]
mod network;
#[path = "effects/operator.rs"]
mod operator;
#[path = "effects/own.rs"]
mod own;
#[path = "effects/placements.rs"]
mod placements;
#[path = "effects/rebinding.rs"]
mod rebinding;
#[path = "effects/server.rs"]
mod server;
#[path = "effects/silent.rs"]
mod silent;
#[path = "effects/ssrf.rs"]
mod ssrf;
#[path = "effects/trap.rs"]
mod trap;
