//! Who acts, for whom, and how it came to be.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use nexus_manifest::{AgentName, Digest, Manifest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{InvocationId, Principal};

/// Where the first call of a chain came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootOrigin {
    /// A person or their program, over the control interface.
    Interactive,
    /// The clock. Nobody is there to answer.
    Schedule,
    /// Data that arrived. Nobody is there to answer.
    Ingest,
    /// A model, over the Model Context Protocol, with a person behind it.
    Mcp,
}

impl RootOrigin {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Schedule => "schedule",
            Self::Ingest => "ingest",
            Self::Mcp => "mcp",
        }
    }

    /// Whether a person may be asked.
    pub fn attended(self) -> bool {
        matches!(self, Self::Interactive | Self::Mcp)
    }
}

impl fmt::Display for RootOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far an effect reaches. Ordered: a later class is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Changes nothing.
    Read,
    /// Changes what the host holds, and can be undone there.
    Internal,
    /// Leaves the host.
    External,
    /// Leaves the host and cannot be taken back.
    Irreversible,
}

impl EffectClass {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Internal => "internal",
            Self::External => "external",
            Self::Irreversible => "irreversible",
        }
    }
}

impl fmt::Display for EffectClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of the data an invocation has seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// It came from outside and may carry instructions.
    Untrusted,
    /// It came from a memory space marked private.
    Private,
    /// It was derived from the secret of this name.
    Secret(String),
}

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a label: write `untrusted`, `private` or `secret:NAME`")]
pub struct LabelError(String);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("untrusted"),
            Self::Private => f.write_str("private"),
            Self::Secret(name) => write!(f, "secret:{name}"),
        }
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text.split_once(':') {
            None if text == "untrusted" => Ok(Self::Untrusted),
            None if text == "private" => Ok(Self::Private),
            Some(("secret", name)) if !name.is_empty() => Ok(Self::Secret(name.to_owned())),
            _ => Err(LabelError(text.chars().take(100).collect())),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What every action of one invocation shares. Made by the host, never by the guest.
#[derive(Debug, Clone)]
pub struct Context {
    /// The agent that acts.
    pub agent: AgentName,
    /// The component it runs from.
    pub component: Digest,
    /// What that component may ask for.
    pub manifest: Arc<Manifest>,
    /// On whose behalf.
    pub principal: Principal,
    /// The invocation.
    pub invocation: InvocationId,
    /// Where the first call of the chain came from.
    pub root: RootOrigin,
    /// The callers, the first one first; the acting agent is not among them.
    pub chain: Vec<AgentName>,
    /// The strictest class among the calls that led here; [`EffectClass::Read`] where there is none.
    pub chain_class: EffectClass,
    /// Whether a person has reviewed what the manifest asks for.
    pub reviewed: bool,
    /// Whether the component is only tried: it may look, where nobody has to be asked, and do nothing.
    pub shadow: bool,
    /// Labels that the invocation was started with.
    pub labels: BTreeSet<Label>,
}
