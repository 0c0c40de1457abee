//! What the end-to-end tests and the benchmark share: the real binary, real guests, real clients.
//!
//! Nothing here has inner access. A [`Host`] is the binary `nexus` as a child process with a data
//! directory of its own; it is spoken to over gRPC with a token, and it ends with the test.

pub mod amount;
pub mod authority;
pub mod client;
pub mod component;
pub mod desk;
pub mod disk;
pub mod eval;
pub mod guests;
pub mod host;
pub mod http;
pub mod model;
pub mod origin;
pub mod probe;
pub mod raw;
pub mod workshop;

pub use amount::amount;
pub use authority::Authority;
pub use client::{Client, Connection};
pub use host::{Host, HostBuilder};
pub use http::Http;
pub use model::Model;
