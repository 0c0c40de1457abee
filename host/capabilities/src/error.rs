//! Refusals and failures in the world's words.

use nexus_effects::Error as EffectError;
use nexus_gate::{Refusal, StartError};
use nexus_runtime::State;

use crate::bindings::nexus::agent::types::Error;

/// Why the gate said no.
pub(crate) fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Denied(reason) => Error::Denied(reason),
        Refusal::Forbidden(reason) => Error::Forbidden(reason),
        Refusal::Expired => Error::Expired,
        Refusal::Unattended => Error::Unattended,
        Refusal::Invalid(reason) => Error::Invalid(reason),
        Refusal::Crowded(reason) => Error::Exhausted(reason),
        Refusal::Unavailable(reason) => Error::Unavailable(reason),
        Refusal::Cancelled => Error::Other(Some("the request was withdrawn".to_owned())),
    }
}

/// Why something that manifest or operator do not name can't be had.
pub(crate) fn not_granted(state: &State, capability: &str, target: &str, reason: String) -> Error {
    refused(state.not_opened(capability, target, Refusal::Forbidden(reason)))
}

/// Why an effect has no result.
pub(crate) fn failed(error: EffectError) -> Error {
    match error {
        EffectError::Refused(StartError::Expired) => Error::Expired,
        EffectError::Refused(StartError::Unavailable(reason)) => Error::Unavailable(reason),
        EffectError::Refused(other) => Error::Forbidden(other.to_string()),
        EffectError::Forbidden(reason) => Error::Forbidden(reason),
        EffectError::Invalid(reason) => Error::Invalid(reason),
        EffectError::NotFound(reason) => Error::NotFound(reason),
        EffectError::Unavailable(reason) => Error::Unavailable(reason),
        EffectError::Timeout(reason) => Error::Timeout(reason),
        EffectError::OutcomeUnknown { key } => Error::OutcomeUnknown(key),
        EffectError::Exhausted(reason) => Error::Exhausted(reason),
        other => Error::Other(Some(other.to_string())),
    }
}

/// The other end is gone, which only a fault of the host explains.
pub(crate) fn lost() -> Error {
    Error::Other(Some("the host gave up on this call".to_owned()))
}

impl crate::bindings::nexus::agent::types::Host for State {}
