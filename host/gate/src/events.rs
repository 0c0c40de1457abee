//! What the gate writes into the audit trail. From it alone one can follow policy decision, request,
//! decision and execution: all four carry the action's digest, the last three the approval's id.

use nexus_audit::{Event, EventKind};
use nexus_manifest::Digest;
use serde_json::json;

use crate::records::Row;
use crate::{Action, ApprovalId};

/// An event about an action. Bodies and fields stay out: the digest stands for them.
pub(crate) fn of_action(
    kind: EventKind,
    action: &Action,
    digest: &Digest,
    policies: &[String],
    approval: Option<ApprovalId>,
) -> Event {
    let context = &*action.context;
    let mut event = Event::new(kind)
        .principal(context.principal.as_str())
        .agent(context.agent.clone())
        .component(context.component)
        .invocation(context.invocation.to_string())
        .sequence(action.sequence)
        .action(*digest)
        .policies(policies.iter().cloned())
        .detail(json!({
            "kind": action.kind.as_str(),
            "capability": action.capability,
            "verb": action.verb,
            "target": action.target,
            "class": action.class.as_str(),
        }));
    if context.shadow {
        event.detail["shadow"] = json!(true);
    }
    if let Some(id) = approval {
        event = event.approval(id.to_string());
    }
    event
}

/// An event about an approval that is no longer tied to a running action.
pub(crate) fn of_row(kind: EventKind, row: &Row) -> Event {
    Event::new(kind)
        .agent(row.agent.clone())
        .component(row.component)
        .invocation(row.invocation.to_string())
        .sequence(row.sequence)
        .action(row.digest)
        .approval(row.id.to_string())
        .policies(row.policies.iter().cloned())
}
