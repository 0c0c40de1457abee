//! The package `nexus.v1`, generated.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::large_futures,
    reason = "generated code: its documentation is that of the .proto files"
)]

tonic::include_proto!("nexus.v1");
