//! What an agent says of itself and what it asks for.
//!
//! The manifest (`agent.toml`) travels inside the component as the custom section
//! `nexus:manifest`. This crate reads it, checks every value once, and hands out types that
//! cannot hold anything unchecked: names, digests, origins, request targets, permissions,
//! limits and JSON Schemas.
//!
//! ```
//! let manifest = nexus_manifest::Manifest::parse(r#"
//!     format = 1
//!     name = "eth-tracker"
//!     version = "0.1.0"
//!     summary = "Values an ETH portfolio"
//!     [[permission]]
//!     memory = { space = "kb-08", access = "read-write" }
//! "#)?;
//! assert_eq!(manifest.permissions[0].to_string(), "memory kb-08 (read-write)");
//! # Ok::<(), nexus_manifest::Error>(())
//! ```

mod chain;
mod diff;
mod digest;
mod error;
mod limits;
mod manifest;
mod name;
mod origin;
pub mod package;
mod permission;
mod raw;
mod schedule;
mod schema;
mod target;

pub use chain::error_chain;
pub use diff::PermissionDiff;
pub use digest::{Digest, DigestError};
pub use error::Error;
pub use limits::Limits;
pub use manifest::Manifest;
pub use name::{AgentName, NameError, SecretName, SpaceName, Tag};
pub use origin::{Host, Origin, OriginError, Scheme};
pub use permission::{
    Access, Class, HttpPermission, MemoryPermission, Method, Peer, PeerPermission, Permission,
    ReadRule, SecretPermission, UnknownMethod,
};
pub use schedule::Schedule;
pub use schema::{Schema, SchemaError, Violation};
pub use target::{Target, TargetError};
