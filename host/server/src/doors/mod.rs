//! What stands between the network and the services: connections and their TLS, what a browser may
//! not do, how much at once, and how often.

mod browser;
mod incoming;
mod load;
mod rate;
mod tls;
mod watched;

pub(crate) use browser::Names;
pub(crate) use incoming::{Peer, incoming};
pub(crate) use load::{Load, exempt, streams};
pub(crate) use rate::{Failures, Rate};
pub(crate) use tls::Tls;
pub(crate) use watched::watched;
