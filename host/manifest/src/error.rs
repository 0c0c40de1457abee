//! Why a manifest is refused.

use crate::name::NameError;
use crate::origin::OriginError;
use crate::permission::UnknownMethod;
use crate::schema::SchemaError;

/// What is wrong with a manifest; the text says how to mend it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Larger than 128 KiB.
    #[error("agent.toml is {0} bytes long; the limit is 131072")]
    TooLarge(usize),
    /// Not TOML, a key that does not exist, a missing key, or a value of the wrong type.
    #[error("agent.toml does not read: {0}")]
    Toml(String),
    /// A format that this host does not know.
    #[error("agent.toml has format {0}; this host reads format 1")]
    Format(u32),
    /// A name breaks its rule.
    #[error("agent.toml: {at}")]
    Name {
        /// Which key.
        at: &'static str,
        /// What the rule is.
        #[source]
        source: NameError,
    },
    /// A text that is no origin.
    #[error("agent.toml: {at}")]
    Origin {
        /// Which key.
        at: &'static str,
        /// What is wrong.
        #[source]
        source: OriginError,
    },
    /// A text that is no method.
    #[error("agent.toml: permission.http.methods")]
    Method(#[source] UnknownMethod),
    /// A schema that does not compile or could harm the host.
    #[error("agent.toml: the schema `{at}` is refused")]
    Schema {
        /// `input` or `output`.
        at: &'static str,
        /// What is wrong.
        #[source]
        source: SchemaError,
    },
    /// A value that breaks a rule of its own.
    #[error("agent.toml: {at}: {reason}")]
    Value {
        /// Which key.
        at: &'static str,
        /// What it must be.
        reason: String,
    },
}

impl Error {
    /// The error and its causes in one line.
    pub fn to_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}
