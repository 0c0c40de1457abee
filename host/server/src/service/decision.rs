//! A person's word as it comes over the wire.

use nexus_gate::{Decision, Edit, Part, Remember, Verdict};
use nexus_proto::v1;
use tonic::Status;

use crate::convert::from_duration;
use crate::fault::Fault;

/// The longest reason of a decision, in bytes: it is kept, audited and told to the agent.
const MAX_REASON: usize = 4096;

/// The decision that a request carries.
pub(super) fn decision(request: &v1::DecideApprovalRequest) -> Result<Decision, Status> {
    let verdict = match request.verdict() {
        v1::Verdict::Approve => Verdict::Approve,
        v1::Verdict::Deny => Verdict::Deny,
        v1::Verdict::Unspecified => {
            let message = "use VERDICT_APPROVE or VERDICT_DENY";
            return Err(Fault::invalid("verdict", message).into());
        }
    };
    if request.reason.len() > MAX_REASON {
        let message = format!("keep the reason to {MAX_REASON} bytes");
        return Err(Fault::invalid("reason", message).into());
    }
    Ok(Decision {
        verdict,
        reason: Some(request.reason.clone()).filter(|reason| !reason.is_empty()),
        identical: request.identical_requests as usize,
        edit: request.edit.as_ref().map(edit).transpose()?,
        remember: request.remember.as_ref().map(remember).transpose()?,
    })
}

fn edit(edit: &v1::Edit) -> Result<Edit, Status> {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let fields =
        match edit.fields.as_str() {
            "" => None,
            fields => Some(serde_json::from_str(fields).map_err(|error| {
                Fault::invalid("edit.fields", format!("it is not JSON: {error}"))
            })?),
        };
    let parts = edit.parts.iter().map(|part| Part {
        name: part.name.clone(),
        media_type: part.media_type.clone(),
        bytes: part.data.clone().into(),
    });
    Ok(Edit {
        verb: text(&edit.verb),
        target: text(&edit.target),
        fields,
        parts: edit.replace_parts.then(|| parts.collect()),
    })
}

fn remember(remember: &v1::Remember) -> Result<Remember, Status> {
    let ttl = remember
        .ttl
        .map(|ttl| from_duration("remember.ttl", ttl))
        .transpose()?;
    Ok(Remember {
        suggestion: remember.suggestion as usize,
        any_component: remember.any_component,
        lifetime_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        uses: Some(remember.uses).filter(|uses| *uses > 0),
    })
}
