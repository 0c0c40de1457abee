//! Approvals.

use nexus_gate::{ActionKind, Approval, Company, Part, State as ApprovalState};
use nexus_proto::v1;

use super::grant::{root, suggestion};
use super::policy::class;
use super::timestamp;

/// An approval for the wire, with everything that its reader has asked for by name.
pub(crate) fn whole_approval(shown: &Approval, company: Company) -> v1::Approval {
    let part = |part: &Part| v1::PayloadPart {
        name: part.name.clone(),
        media_type: part.media_type.clone(),
        data: part.bytes.to_vec(),
    };
    v1::Approval {
        payload: Some(v1::Payload {
            fields: shown.payload.fields.to_string(),
            parts: shown.payload.parts.iter().map(part).collect(),
        }),
        ..approval(shown, company)
    }
}

/// An approval for the wire.
pub(crate) fn approval(approval: &Approval, company: Company) -> v1::Approval {
    v1::Approval {
        name: format!("approvals/{}", approval.id),
        digest: approval.digest.to_string(),
        state: state(approval.state).into(),
        rendering: approval.rendering.clone(),
        kind: match approval.kind {
            ActionKind::Effect => v1::ActionKind::Effect,
            ActionKind::Publish => v1::ActionKind::Publish,
            ActionKind::Grant => v1::ActionKind::Grant,
            ActionKind::Reveal => v1::ActionKind::Reveal,
        }
        .into(),
        agent: crate::names::of_agent(&approval.agent),
        component_digest: approval.component.to_string(),
        principal: approval.principal.to_string(),
        invocation: match approval.kind {
            ActionKind::Effect | ActionKind::Reveal => {
                format!("invocations/{}", approval.invocation)
            }
            // What these are asked for is no run of an agent.
            ActionKind::Publish | ActionKind::Grant => String::new(),
        },
        sequence: approval.sequence,
        capability: approval.capability.to_string(),
        verb: approval.verb.clone(),
        target: approval.target.clone(),
        effect_class: class(approval.class).into(),
        labels: approval.labels.iter().map(ToString::to_string).collect(),
        root_origin: root(approval.root).into(),
        chain: approval.chain.iter().map(crate::names::of_agent).collect(),
        policies: approval.policies.clone(),
        required_approvals: approval.required,
        decisions: approval
            .decisions
            .iter()
            .map(|decision| v1::Decision {
                principal: decision.principal.to_string(),
                verdict: if decision.approved {
                    v1::Verdict::Approve
                } else {
                    v1::Verdict::Deny
                }
                .into(),
                reason: decision.reason.clone().unwrap_or_default(),
                decide_time: Some(timestamp(decision.time_ms)),
                grant: decision
                    .grant
                    .map(|id| format!("grants/{id}"))
                    .unwrap_or_default(),
                edited_as: decision
                    .edited
                    .map(|edited| format!("approvals/{}", edited.approval))
                    .unwrap_or_default(),
            })
            .collect(),
        create_time: Some(timestamp(approval.created_ms)),
        expire_time: Some(timestamp(approval.deadline_ms)),
        cancel_reason: approval.cancel_reason.clone().unwrap_or_default(),
        suggestions: approval.suggestions.iter().map(suggestion).collect(),
        never_allowed: approval.never_remembered().unwrap_or_default().to_owned(),
        edited_from: approval
            .edited_from
            .map(|id| format!("approvals/{id}"))
            .unwrap_or_default(),
        identical_requests: u32::try_from(company.identical).unwrap_or(u32::MAX),
        ask_rate: Some(v1::AskRate {
            asked: company.asked,
            approved: company.approved,
            denied: company.denied,
        }),
        payload: None,
        lineage: None,
    }
}

fn state(state: ApprovalState) -> v1::approval::State {
    use v1::approval::State;
    match state {
        ApprovalState::Pending => State::Pending,
        ApprovalState::Queued => State::Queued,
        ApprovalState::Approved => State::Approved,
        ApprovalState::Denied => State::Denied,
        ApprovalState::Expired => State::Expired,
        ApprovalState::Cancelled => State::Cancelled,
        ApprovalState::Consumed => State::Consumed,
    }
}

/// The state of a filter, if one was given.
pub(crate) fn approval_state(state: v1::approval::State) -> Option<ApprovalState> {
    use v1::approval::State;
    match state {
        State::Unspecified => None,
        State::Pending => Some(ApprovalState::Pending),
        State::Queued => Some(ApprovalState::Queued),
        State::Approved => Some(ApprovalState::Approved),
        State::Denied => Some(ApprovalState::Denied),
        State::Expired => Some(ApprovalState::Expired),
        State::Cancelled => Some(ApprovalState::Cancelled),
        State::Consumed => Some(ApprovalState::Consumed),
    }
}
