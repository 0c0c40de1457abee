//! Outbound HTTP: the one way from an agent to the network.
//!
//! [`Request`] takes only what can be sent as it was shown. [`Egress::send`] spends the permit, puts
//! the secrets in, resolves the name once, refuses every address that is not public, connects to
//! exactly the address it checked, and follows no redirect.

mod address;
mod body;
mod connect;
mod egress;
pub(crate) mod exchange;
mod headers;
mod network;
mod own;
mod placement;
mod request;
mod response;

pub use address::is_public;
pub use egress::{Egress, EgressOptions, SetupError, Timeouts};
pub use headers::{
    MAX_BYTES as MAX_HEADER_BYTES, MAX_FIELDS as MAX_HEADERS, check as check_header,
};
pub use network::{Network, SystemNetwork};
pub use placement::{Encoding, Place, Placement};
pub use request::{MAX_BODY as MAX_REQUEST_BODY, Request};
pub use response::Response;

pub(crate) use connect::{Connector, Reach};
pub(crate) use own::Own;
