//! What does happen: requests that leave the host, writes to memory spaces, calls of other agents.
//!
//! The only crate that may depend on an HTTP client or write what agents can see. Every function
//! that acts for an agent takes a [`Permit`](nexus_gate::Permit) by value, which only the gate can
//! make, and spends it on the very bytes it is about to send: if they are not what was permitted,
//! nothing happens. What has no permit is named for the operator: [`operator_egress`], and the
//! `operator_` functions of [`memory::Memory`].

mod beside;
pub mod bus;
mod error;
mod escapes;
pub mod http;
pub mod leak;
pub mod memory;
pub mod operator_egress;
pub mod secret;
mod shapes;
mod show;
mod watch;

pub use error::Error;
pub use shapes::Shapes;
pub use watch::Watch;
