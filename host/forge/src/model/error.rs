use std::time::Duration;

use nexus_manifest::SecretName;

use super::config::Bound;
use super::spend::Used;

/// Why the model gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint is configured.
    #[error(
        "ask a model: none is configured; set [model] base_url and model, or forge from a template or a source"
    )]
    NotConfigured,
    /// The endpoint's address is no URL of this kind.
    #[error("read the model's base URL {url:?}: {reason}")]
    BaseUrl {
        /// What is configured.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The endpoint may not be talked to.
    #[error("set up the way to the model")]
    Setup(#[source] nexus_effects::operator_egress::OperatorError),
    /// The vault's key can't be had, or is not for this endpoint. Nothing was sent.
    #[error("take the model's key `{name}` from the vault")]
    Key {
        /// The secret's name.
        name: SecretName,
        /// Why not.
        #[source]
        source: nexus_effects::Error,
    },
    /// The endpoint could not be reached.
    #[error("ask the model")]
    Unreachable(#[source] nexus_effects::Error),
    /// The endpoint took too long: to begin, between two pieces, or in all.
    #[error("wait for the model")]
    Silent(#[source] nexus_effects::Error),
    /// The endpoint wants to be left alone, for longer or more often than the forge can wait.
    #[error("ask the model: the endpoint is busy (429){}: {message}", later(*.after))]
    Busy {
        /// How long, if it said so.
        after: Option<Duration>,
        /// The beginning of what it said.
        message: String,
    },
    /// The endpoint said no.
    #[error("ask the model: the endpoint answered {status}: {message}{}", hint(*.status))]
    Refused {
        /// Its status.
        status: u16,
        /// The beginning of what it said.
        message: String,
    },
    /// The answer broke off.
    #[error("read the model's answer: it broke off: {0}")]
    Cut(String),
    /// The stream is not what a chat endpoint sends.
    #[error("read the model's answer: {0}")]
    Stream(String),
    /// The answer ended at the limit on its length.
    #[error(
        "read the model's answer: it is longer than {0} tokens; raise answer_tokens under [model] if it has to be"
    )]
    TooLong(u64),
    /// The spec is not one, even after the model was told what is wrong.
    #[error("read the model's specification: {0}")]
    Spec(String),
    /// The forge has used up what it may.
    #[error("ask the model: {bound} allows no more; this forge has used {used}")]
    Spent {
        /// Which limit.
        bound: Bound,
        /// What was used.
        used: Used,
    },
}

fn later(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| {
        format!(
            " and may be asked again in {:.0} s",
            after.as_secs_f64().ceil()
        )
    })
}

/// What to look at in the configuration when an endpoint answers with this status; empty if it tells
/// nothing of that.
pub fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "; look at the key under [model]",
        404 | 405 => {
            "; look at base_url under [model], which ends where /chat/completions follows, most often in /v1, and at the model's name"
        }
        _ => "",
    }
}
