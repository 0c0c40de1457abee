//! Names of agents, secrets, memory spaces and tags, checked once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that breaks the rule of its kind of name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name for {kind}: use {rule}")]
pub struct NameError {
    kind: &'static str,
    rule: &'static str,
    text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $min:literal..=$max:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if follows_rule(text, $min, $max) {
                    Ok(Self(text.into()))
                } else {
                    let text = text.chars().take(100).collect();
                    Err(NameError { kind: $kind, rule: $rule, text })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
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

name!(
    /// An agent's name: `^[a-z][a-z0-9-]{1,62}$`.
    AgentName, "an agent", 2..=63,
    "2 to 63 lower-case letters, digits and `-`, a letter first"
);
name!(
    /// A secret's name: `^[a-z][a-z0-9-]{0,62}$`.
    SecretName, "a secret", 1..=63,
    "1 to 63 lower-case letters, digits and `-`, a letter first"
);
name!(
    /// The name of a memory space: `^[a-z][a-z0-9-]{0,62}$`.
    SpaceName, "a memory space", 1..=63,
    "1 to 63 lower-case letters, digits and `-`, a letter first"
);
name!(
    /// A tag of an agent: `^[a-z][a-z0-9-]{0,62}$`.
    Tag, "a tag", 1..=63,
    "1 to 63 lower-case letters, digits and `-`, a letter first"
);

fn follows_rule(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_names_follow_their_rule() {
        for good in ["eth-tracker", "a1", &"a".repeat(63)] {
            assert!(good.parse::<AgentName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "1a",
            "-a",
            "Eth",
            "a_b",
            "a b",
            "a/b",
            "é1",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }
}
