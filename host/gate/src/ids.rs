//! Identifiers: one newtype per kind, so that an approval's never fits where an invocation's goes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// An authenticated identity on the control interface: who starts invocations and decides approvals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(String);

impl Principal {
    /// The identity with this id. Only the authentication of the control interface should call it.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no identifier of the kind expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an identifier such as `{prefix}0190b8f2-...`")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier: greater than all that this process made before.
            #[expect(clippy::new_without_default, reason = "every call gives another value")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(|digits| Uuid::try_parse(digits).ok())
                    .map(Self)
                    // One spelling per identifier: `try_parse` also takes braces and capitals.
                    .filter(|id| id.to_string() == text)
                    .ok_or_else(|| IdError { text: text.chars().take(100).collect(), prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// One run of an agent. Sorts by the time it was made.
    InvocationId, "inv-"
}
id! {
    /// One question to a person. Sorts by the time it was made.
    ApprovalId, "apr-"
}
id! {
    /// One standing grant. Sorts by the time it was made.
    GrantId, "grt-"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn identifiers_are_read_back_in_one_spelling_only() {
        let id = ApprovalId::new();
        let text = id.to_string();
        assert_eq!(text.parse::<ApprovalId>().unwrap(), id);
        assert!(text.parse::<InvocationId>().is_err());
        assert!(text.to_uppercase().parse::<ApprovalId>().is_err());
        assert!(text.replace("apr-", "apr-{").parse::<ApprovalId>().is_err());
        assert!(ApprovalId::new() > id);
    }
}
