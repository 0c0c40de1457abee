//! Receipts: the record of how an effect ended.

use std::fmt;

use nexus_audit::EventKind;
use nexus_manifest::Digest;
use serde_json::Value;

use crate::EffectClass;
use crate::errors::FinishError;
use crate::permit::Grant;

/// An effect that has started. Exactly one of two things becomes of it: [`finish`](Receipt::finish)
/// records its end, or dropping it records that the end is unknown.
#[must_use = "a receipt that is dropped records the outcome as unknown"]
pub struct Receipt {
    grant: Option<Box<Grant>>,
    digest: Digest,
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Whether it did what it was to do.
    pub ok: bool,
    /// The digest of its result; bodies and secrets stay out of the trail.
    pub result: Digest,
    /// What else belongs into the trail, such as a status code.
    pub detail: Value,
}

impl Receipt {
    pub(crate) fn new(grant: Box<Grant>) -> Self {
        Self {
            digest: grant.digest,
            grant: Some(grant),
        }
    }

    /// The digest of the action, for the caller's own records.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Records the end of the effect. The record of a write is durable when this returns.
    pub async fn finish(mut self, finish: Finish) -> Result<(), FinishError> {
        let Some(grant) = self.grant.take() else {
            return Ok(());
        };
        let mut event = grant
            .event(EventKind::EffectFinished)
            .outcome(if finish.ok { "ok" } else { "failed" });
        event.detail["result"] = serde_json::json!(finish.result);
        event.detail["end"] = finish.detail;
        if grant.action.class == EffectClass::Read {
            return grant
                .gate
                .audit
                .note(event)
                .map_err(|error| FinishError(error.to_string()));
        }
        let audit = grant.gate.audit.clone();
        // Written to the end even if the caller leaves.
        let written = grant
            .gate
            .runtime
            .spawn(async move { audit.write(event).await });
        match written.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(FinishError(error.to_string())),
            Err(error) => Err(FinishError(error.to_string())),
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take()
            && let Err(error) = grant.note(grant.event(EventKind::EffectUnknown))
        {
            // The started record without an end says the same to whoever reads the trail.
            tracing::error!(%error, digest = %grant.digest, "an unknown outcome could not be recorded");
        }
    }
}
