//! What stands between the network and the services: connections and their TLS, what a browser may
//! not do, how much at once, and how often.

mod arriving;
mod browser;
mod incoming;
mod load;
mod rate;
mod tls;
mod watched;

pub(crate) use arriving::arriving;
pub(crate) use browser::Names;
pub(crate) use incoming::{Peer, incoming};
pub(crate) use load::{Full, Load, Place, Share, exempt, needs_no_token, streams, uploads};
pub(crate) use rate::{Failures, Rate};
pub(crate) use tls::Tls;
pub(crate) use watched::watched;
