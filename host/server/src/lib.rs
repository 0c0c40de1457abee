//! The binary `nexus`: one host of agents, its gRPC services, and the command line.
//!
//! Start reading at [`host::Host::open`], which puts every part together, and [`serve::main`], which
//! serves it. The services translate between the wire and the parts; they decide nothing.

#[cfg(test)]
mod audited;
pub mod auth;
pub mod cli;
pub mod config;
mod convert;
mod demo;
mod doors;
mod fault;
#[cfg(test)]
#[path = "../../store/tests/support/faulty.rs"]
mod faulty;
mod forges;
mod gateway;
mod head;
pub mod host;
pub mod keys;
mod lock;
pub mod model;
mod names;
mod paging;
mod policy;
mod publish;
mod requests;
mod retention;
pub mod serve;
mod service;
