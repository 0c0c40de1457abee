//! Calls of other agents. The invocation is the runtime's; here the permit is spent and recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{
    Action, ActionKind, Callee, Context, EffectClass, Label, Payload, Permit, Receipt, kind,
};
use nexus_manifest::{AgentName, Tag};
use serde_json::json;

use crate::Error;

/// What a call carries: the JSON input, who exactly is called, and the tags that the grant may rest on.
/// Nobody is called where there is no such agent; the call then fails after the gate.
pub fn call_payload(callee: Option<&Callee>, tags: &[Tag], input: &str) -> Payload {
    let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    let mut fields = json!({ "tags": tags });
    if let Some(callee) = callee {
        fields["callee"] = json!(callee);
    }
    Payload::new(fields).with_part("input", "application/json", input.to_owned())
}

/// The JSON input that a call carries.
pub fn input(payload: &Payload) -> Result<String, Error> {
    let bytes = payload.part("input").map(|part| part.bytes.to_vec());
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::Invalid("the call has no input".to_owned()))
}

/// The action that calls a peer, as it is given to the gate.
pub fn call_action(
    context: Arc<Context>,
    sequence: u64,
    labels: BTreeSet<Label>,
    peer: &AgentName,
    payload: Payload,
) -> Action {
    action(
        context,
        sequence,
        labels,
        "call",
        peer.to_string(),
        EffectClass::Internal,
        payload,
    )
}

/// The action that lists the peers.
pub fn list_action(context: Arc<Context>, sequence: u64, labels: BTreeSet<Label>) -> Action {
    action(
        context,
        sequence,
        labels,
        "peers",
        "*".to_owned(),
        EffectClass::Read,
        Payload::new(json!({})),
    )
}

/// Spends the permit to call a peer. The receipt is finished with the digest of the peer's output.
pub async fn start(permit: Permit<kind::BusCall>, payload: &Payload) -> Result<Receipt, Error> {
    Ok(permit.start(payload).await?)
}

/// Spends the permit to list or find peers.
pub async fn list(permit: Permit<kind::BusList>, payload: &Payload) -> Result<(), Error> {
    Ok(permit.read(payload).await?)
}

fn action(
    context: Arc<Context>,
    sequence: u64,
    labels: BTreeSet<Label>,
    verb: &str,
    target: String,
    class: EffectClass,
    payload: Payload,
) -> Action {
    Action {
        kind: ActionKind::Effect,
        context,
        sequence,
        capability: "bus",
        verb: verb.to_owned(),
        target,
        class,
        labels,
        payload,
    }
}
