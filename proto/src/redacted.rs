//! `Debug` for the messages that hold a secret: logs and failed assertions never show it.

use std::fmt;

use crate::v1::{CreateTokenResponse, SetSecretRequest};

/// Stands in for a secret.
struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl fmt::Debug for SetSecretRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secret_id,
            value: _,
            audience,
            etag,
            revealable,
        } = self;
        formatter
            .debug_struct("SetSecretRequest")
            .field("secret_id", secret_id)
            .field("value", &Redacted)
            .field("audience", audience)
            .field("etag", etag)
            .field("revealable", revealable)
            .finish()
    }
}

impl fmt::Debug for CreateTokenResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, secret: _ } = self;
        formatter
            .debug_struct("CreateTokenResponse")
            .field("token", token)
            .field("secret", &Redacted)
            .finish()
    }
}
