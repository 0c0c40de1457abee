//! Audit records and checkpoints.

use nexus_audit::{Checkpoint, Record, VerifyingKey};
use nexus_proto::v1;

use super::timestamp;

/// A record for the wire: what it says, and the bytes that its hash covers.
pub(crate) fn event(record: &Record) -> v1::Event {
    let event = &record.event;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    v1::Event {
        name: format!("events/{}", record.sequence),
        sequence: record.sequence,
        previous_hash: record.previous.to_vec(),
        hash: record.hash.to_vec(),
        record: record.bytes.clone(),
        event_time: Some(timestamp(event.time_ms)),
        kind: event.kind.as_str().to_owned(),
        principal: text(&event.principal),
        agent: event
            .agent
            .as_ref()
            .map(crate::names::of_agent)
            .unwrap_or_default(),
        component_digest: event
            .component
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        invocation: event
            .invocation
            .as_ref()
            .map(|id| format!("invocations/{id}"))
            .unwrap_or_default(),
        call_sequence: event.sequence.unwrap_or_default(),
        action_digest: event
            .action
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        approval: event
            .approval
            .as_ref()
            .map(|id| format!("approvals/{id}"))
            .unwrap_or_default(),
        policies: event.policies.clone(),
        outcome: text(&event.outcome),
        detail: if event.detail.is_null() {
            String::new()
        } else {
            event.detail.to_string()
        },
    }
}

/// A checkpoint for the wire, with the key that checks it.
pub(crate) fn checkpoint(checkpoint: &Checkpoint, verifying_key: &VerifyingKey) -> v1::Checkpoint {
    v1::Checkpoint {
        sequence: checkpoint.sequence,
        hash: checkpoint.hash.to_vec(),
        create_time: Some(timestamp(checkpoint.time_ms)),
        signature: checkpoint.signature.to_vec(),
        key_id: checkpoint.key_id.clone(),
        verifying_key: verifying_key.to_bytes().to_vec(),
    }
}
