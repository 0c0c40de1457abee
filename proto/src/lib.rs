//! The gRPC contract of NEXUS, `nexus.v1`: messages, clients and servers.
//!
//! The `.proto` files beside this crate are the contract; everything in [`v1`] is generated from
//! them, without `protoc`. [`DESCRIPTOR_SET`] is the same contract as data, for reflection, gateways
//! and tests that go through every method.
//!
//! ```
//! use nexus_proto::v1::{Invocation, Success, invocation};
//!
//! let ended = Invocation {
//!     name: "invocations/inv-1".to_owned(),
//!     state: invocation::State::Succeeded.into(),
//!     outcome: Some(invocation::Outcome::Success(Success {
//!         output: r#"{"price":"3000"}"#.to_owned(),
//!     })),
//!     ..Invocation::default()
//! };
//! assert_eq!(ended.state(), invocation::State::Succeeded);
//! ```

mod redacted;
pub mod v1;

/// An encoded `google.protobuf.FileDescriptorSet` of `nexus.v1` and all that it imports.
///
/// Comments and the options of `google.api` (`http`, `field_behavior`) are in it. Types that do not
/// know these options, such as those of `prost-types`, lose them when they encode it again.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
