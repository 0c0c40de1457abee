//! Why a call has no result, and what an agent tells its caller.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bindings::nexus::agent::types as wit;

/// The result of every function of this crate, and of an agent's `invoke`.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a call has no result.
///
/// *Denied*, *forbidden*, *expired* and *unattended* are different things: a person said no, nobody was asked,
/// nobody answered, nobody is there to ask. Unless a variant says otherwise, nothing took effect. Each variant
/// has a stable [`code`](Error::code), which is what the caller sees if the agent passes the error on with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A person said no; their reason, if they gave one. Do not try again.
    Denied(Option<String>),
    /// The manifest or the policy rules it out; nobody was asked.
    Forbidden(String),
    /// A person was asked and did not answer in time.
    Expired,
    /// A person would have to be asked, and this invocation has none.
    Unattended,
    /// The effect was started and its end was not seen; it may have happened. The string is its idempotency key.
    OutcomeUnknown(String),
    /// No such secret, key or peer.
    NotFound(String),
    /// The call is malformed.
    Invalid(String),
    /// A quota or limit of this agent is used up.
    Exhausted(String),
    /// The far side could not be reached, or refused before it began.
    Unavailable(String),
    /// A read took too long or broke off on the way.
    Timeout(String),
    /// A text is not the JSON that was expected: what was being read, and where it went wrong.
    Json(String),
    /// An HTTP response with a status of 400 or above, and the beginning of its body.
    Status {
        /// The status code, such as 404.
        status: u16,
        /// The first 500 characters of the body, so that the reason can be seen.
        body: String,
    },
    /// What another agent returned instead of a result, or what this agent returns: see [`fail!`](crate::fail).
    Failure(Failure),
    /// Anything else. The text is for people; do not parse it.
    Other(Option<String>),
}

/// What went wrong, in an agent's own terms: how an agent says no to its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable lower-case word that callers may match, such as `bad-address`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

impl Error {
    /// The stable word for this error: `denied`, `forbidden`, `expired`, `unattended`, `outcome-unknown`,
    /// `not-found`, `invalid`, `exhausted`, `unavailable`, `timeout`, `bad-json`, `http-status`, `failed`,
    /// or the code of a [`Failure`].
    pub fn code(&self) -> &str {
        match self {
            Error::Denied(_) => "denied",
            Error::Forbidden(_) => "forbidden",
            Error::Expired => "expired",
            Error::Unattended => "unattended",
            Error::OutcomeUnknown(_) => "outcome-unknown",
            Error::NotFound(_) => "not-found",
            Error::Invalid(_) => "invalid",
            Error::Exhausted(_) => "exhausted",
            Error::Unavailable(_) => "unavailable",
            Error::Timeout(_) => "timeout",
            Error::Json(_) => "bad-json",
            Error::Status { .. } => "http-status",
            Error::Failure(failure) => &failure.code,
            Error::Other(_) => "failed",
        }
    }

    /// An [`Error::Json`] that says what was being read or written.
    pub(crate) fn json(what: impl fmt::Display, error: &serde_json::Error) -> Self {
        Error::Json(format!("{what}: {error}"))
    }
}

impl Failure {
    /// A failure with a stable lower-case `code` and a `message` for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Failure {
            code: code.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(None) => f.write_str("denied by a person"),
            Error::Denied(Some(reason)) => write!(f, "denied by a person: {reason}"),
            Error::Forbidden(text) => write!(f, "forbidden: {text}"),
            Error::Expired => f.write_str("nobody decided in time"),
            Error::Unattended => f.write_str("a person would have to be asked, and none is there"),
            Error::OutcomeUnknown(key) => write!(
                f,
                "it was started and its end was not seen (idempotency key {key})"
            ),
            Error::NotFound(text) => write!(f, "not found: {text}"),
            Error::Invalid(text) => write!(f, "invalid: {text}"),
            Error::Exhausted(text) => write!(f, "limit used up: {text}"),
            Error::Unavailable(text) => write!(f, "unavailable: {text}"),
            Error::Timeout(text) => write!(f, "timed out: {text}"),
            Error::Json(text) => write!(f, "unexpected JSON in {text}"),
            Error::Status { status, body } if body.is_empty() => write!(f, "HTTP status {status}"),
            Error::Status { status, body } => write!(f, "HTTP status {status}: {body}"),
            Error::Failure(failure) => failure.fmt(f),
            Error::Other(Some(text)) => f.write_str(text),
            Error::Other(None) => f.write_str("failed for an unnamed reason"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Failure {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(reason) => Error::Denied(reason),
            wit::Error::Forbidden(text) => Error::Forbidden(text),
            wit::Error::Expired => Error::Expired,
            wit::Error::Unattended => Error::Unattended,
            wit::Error::OutcomeUnknown(key) => Error::OutcomeUnknown(key),
            wit::Error::NotFound(text) => Error::NotFound(text),
            wit::Error::Invalid(text) => Error::Invalid(text),
            wit::Error::Exhausted(text) => Error::Exhausted(text),
            wit::Error::Unavailable(text) => Error::Unavailable(text),
            wit::Error::Timeout(text) => Error::Timeout(text),
            wit::Error::Other(text) => Error::Other(text),
        }
    }
}

impl From<wit::Failure> for Failure {
    fn from(failure: wit::Failure) -> Self {
        Failure {
            code: failure.code,
            message: failure.message,
        }
    }
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        wit::Failure {
            code: failure.code,
            message: failure.message,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Failure(failure)
    }
}

/// The caller sees the error's [`code`](Error::code) and its text.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Failure(failure) => failure,
            error => Failure::new(error.code(), error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::json("a value", &error)
    }
}

/// For `.ok_or("no price in the response")?`.
impl From<&str> for Error {
    fn from(text: &str) -> Self {
        Error::Other(Some(text.to_owned()))
    }
}

/// For `.ok_or_else(|| format!("..."))?`.
impl From<String> for Error {
    fn from(text: String) -> Self {
        Error::Other(Some(text))
    }
}

/// What the standard library says of a text or number that cannot be converted is an [`Error::Invalid`].
macro_rules! invalid_from {
    ($($source:ty),*) => {$(
        impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Error::Invalid(error.to_string())
            }
        }
    )*};
}

invalid_from!(
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::char::ParseCharError
);

/// Ends the function with a [`Failure`](crate::Failure): `fail!("bad-address", "{address} is not an address")`.
///
/// Works in every function whose error is [`Error`](crate::Error) or [`Failure`](crate::Failure).
#[macro_export]
macro_rules! fail {
    ($code:expr, $($message:tt)+) => {
        return ::core::result::Result::Err(
            $crate::Failure::new($code, ::std::format!($($message)+)).into()
        )
    };
}

/// Ends the function with a [`Failure`](crate::Failure) unless the condition holds:
/// `ensure!(quantity > 0.0, "bad-quantity", "{quantity} is not above zero")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $code:expr, $($message:tt)+) => {
        // This way round, because Clippy would blame the agent for `!(a > b)` on floats.
        if $condition {
        } else {
            $crate::fail!($code, $($message)+)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wit_error_keeps_its_meaning_and_has_its_own_code() {
        let text = || "x".to_owned();
        let cases = [
            (wit::Error::Denied(Some(text())), "denied"),
            (wit::Error::Forbidden(text()), "forbidden"),
            (wit::Error::Expired, "expired"),
            (wit::Error::Unattended, "unattended"),
            (wit::Error::OutcomeUnknown(text()), "outcome-unknown"),
            (wit::Error::NotFound(text()), "not-found"),
            (wit::Error::Invalid(text()), "invalid"),
            (wit::Error::Exhausted(text()), "exhausted"),
            (wit::Error::Unavailable(text()), "unavailable"),
            (wit::Error::Timeout(text()), "timeout"),
            (wit::Error::Other(None), "failed"),
        ];
        for (error, code) in cases {
            let failure = Failure::from(Error::from(error));
            assert_eq!(failure.code, code);
            assert!(!failure.message.is_empty());
        }
    }

    #[test]
    fn a_failure_passes_through_unchanged() {
        fn refuse(quantity: f64) -> Result<()> {
            ensure!(
                quantity > 0.0,
                "bad-quantity",
                "{quantity} is not above zero"
            );
            Ok(())
        }
        let expected = Failure::new("bad-quantity", "-1 is not above zero");
        assert_eq!(refuse(-1.0).map_err(Failure::from), Err(expected));
        assert_eq!(refuse(1.0), Ok(()));
    }

    #[test]
    fn a_failure_can_be_the_error_itself() {
        fn refuse() -> Result<(), Failure> {
            fail!("no", "never {}", 1)
        }
        assert_eq!(refuse(), Err(Failure::new("no", "never 1")));
    }
}
