//! What an agent can do: one folder per interface of the world `nexus:agent`.
//!
//! Every function here follows the same way: it counts the call, checks what the handle is for,
//! describes what is about to happen as an [`Action`](nexus_gate::Action), takes it through the
//! gate, hands the permit to `nexus-effects`, and turns the result into the world's words. Nothing
//! here decides, and nothing here reaches the network or the store by itself.
//!
//! The list of folders is the list of powers: `http`, `vault`, `memory`, `bus`, `config`, `log`.
//! [`link`] is the one place where they are put together.
#![allow(
    unreachable_pub,
    reason = "generated code names the types of resources"
)]

mod bindings;
mod bus;
mod config;
mod error;
mod http;
mod log;
mod memory;
mod rehearsed;
mod task;
mod vault;

use nexus_runtime::State;
use wasmtime::component::{HasSelf, Linker};

/// Adds every interface of the world to a linker.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use bindings::nexus::agent;
    agent::types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::config::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::vault::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::vault_reveal::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::memory::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::http::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    agent::bus::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
