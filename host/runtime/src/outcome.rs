//! How an invocation ended. Six different people act on six different ends.

use nexus_effects::Watch;
use nexus_gate::Refusal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::Limit;
use crate::prepare::blocking;

/// Outcomes of more bytes are searched for secrets beside the workers.
const SEARCHED_HERE: usize = 64 << 10;

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The agent's answer, a JSON text that fits the manifest's output schema.
    Success(String),
    /// The agent's own failure. Two codes are the host's: `invalid-output` for
    /// an answer that is no JSON or does not fit the output schema.
    Failure {
        /// A stable word.
        code: String,
        /// For people.
        message: String,
    },
    /// The gate said no to something, and the guest passed that no on: its
    /// failure has the code of the last refusal it was told. A guest that makes
    /// something else of a refusal ends as it says.
    Refused(Refusal),
    /// A limit ended the guest.
    Exhausted {
        /// Which.
        limit: Limit,
        /// What it was, for people.
        message: String,
    },
    /// The guest broke: a trap, a panic, an exit.
    Trapped {
        /// What happened, with the last words of the guest.
        message: String,
    },
    /// The host is at fault.
    HostFault {
        /// What happened, without internals.
        message: String,
    },
    /// Somebody ended it.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The host ended while it ran.
    Interrupted,
}

impl Outcome {
    /// As [`without`](Self::without); a large one is searched beside the workers.
    pub(crate) async fn cleaned(self, watch: &Watch) -> Self {
        if watch.is_empty() || self.weight() <= SEARCHED_HERE {
            return self.without(watch);
        }
        let watch = watch.clone();
        blocking(move || self.without(&watch)).await
    }

    /// The same without the secrets that the invocation had put into requests. An answer that holds
    /// one in pieces, or is no JSON without it, is none.
    fn without(self, watch: &Watch) -> Self {
        let clean = |text: String| watch.redact(&text).unwrap_or(text);
        match self {
            Self::Success(output) => match watch.redact_json(&output) {
                Ok(clean) => Self::Success(clean.unwrap_or(output)),
                Err(secret) => Self::Failure {
                    code: "invalid-output".to_owned(),
                    message: format!("the agent's answer holds the secret `{secret}`"),
                },
            },
            Self::Failure { code, message } => Self::Failure {
                // A code is a word that programs match.
                code: match watch.redact(&code) {
                    Some(_) => "secret".to_owned(),
                    None => code,
                },
                message: clean(message),
            },
            Self::Trapped { message } => Self::Trapped {
                message: clean(message),
            },
            other => other,
        }
    }

    /// The stable name of the kind of end.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::Failure { .. } => "failure",
            Self::Refused(_) => "refused",
            Self::Exhausted { .. } => "exhausted",
            Self::Trapped { .. } => "trapped",
            Self::HostFault { .. } => "host_fault",
            Self::Cancelled { .. } => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Bytes it takes in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Success(output) => output.len(),
            Self::Failure { code, message } => code.len() + message.len(),
            Self::Exhausted { message, .. }
            | Self::Trapped { message }
            | Self::HostFault { message } => message.len(),
            Self::Cancelled { reason } => reason.len(),
            Self::Refused(_) | Self::Interrupted => 0,
        }
    }
}

/// The form in which an outcome is stored.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Stored {
    Success { output: String },
    Failure { code: String, message: String },
    Refused { refusal: StoredRefusal },
    Exhausted { limit: Limit, message: String },
    Trapped { message: String },
    HostFault { message: String },
    Cancelled { reason: String },
    Interrupted,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
enum StoredRefusal {
    Denied { reason: Option<String> },
    Forbidden { reason: String },
    Expired,
    Unattended,
    Invalid { reason: String },
    Crowded { reason: String },
    Unavailable { reason: String },
    Cancelled,
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = match self.clone() {
            Self::Success(output) => Stored::Success { output },
            Self::Failure { code, message } => Stored::Failure { code, message },
            Self::Refused(refusal) => Stored::Refused {
                refusal: match refusal {
                    Refusal::Denied(reason) => StoredRefusal::Denied { reason },
                    Refusal::Forbidden(reason) => StoredRefusal::Forbidden { reason },
                    Refusal::Expired => StoredRefusal::Expired,
                    Refusal::Unattended => StoredRefusal::Unattended,
                    Refusal::Invalid(reason) => StoredRefusal::Invalid { reason },
                    Refusal::Crowded(reason) => StoredRefusal::Crowded { reason },
                    Refusal::Unavailable(reason) => StoredRefusal::Unavailable { reason },
                    Refusal::Cancelled => StoredRefusal::Cancelled,
                },
            },
            Self::Exhausted { limit, message } => Stored::Exhausted { limit, message },
            Self::Trapped { message } => Stored::Trapped { message },
            Self::HostFault { message } => Stored::HostFault { message },
            Self::Cancelled { reason } => Stored::Cancelled { reason },
            Self::Interrupted => Stored::Interrupted,
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Success { output } => Self::Success(output),
            Stored::Failure { code, message } => Self::Failure { code, message },
            Stored::Refused { refusal } => Self::Refused(match refusal {
                StoredRefusal::Denied { reason } => Refusal::Denied(reason),
                StoredRefusal::Forbidden { reason } => Refusal::Forbidden(reason),
                StoredRefusal::Expired => Refusal::Expired,
                StoredRefusal::Unattended => Refusal::Unattended,
                StoredRefusal::Invalid { reason } => Refusal::Invalid(reason),
                StoredRefusal::Crowded { reason } => Refusal::Crowded(reason),
                StoredRefusal::Unavailable { reason } => Refusal::Unavailable(reason),
                StoredRefusal::Cancelled => Refusal::Cancelled,
            }),
            Stored::Exhausted { limit, message } => Self::Exhausted { limit, message },
            Stored::Trapped { message } => Self::Trapped { message },
            Stored::HostFault { message } => Self::HostFault { message },
            Stored::Cancelled { reason } => Self::Cancelled { reason },
            Stored::Interrupted => Self::Interrupted,
        })
    }
}
