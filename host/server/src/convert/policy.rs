//! Policies, and what they say.

use nexus_gate::{ActionKind, Answer, EffectClass, Explanation, InForce, PolicySource, RootOrigin};
use nexus_proto::v1;

use super::timestamp;

/// A policy for the wire; `refused` is why its file was not taken.
pub(crate) fn policy(in_force: &InForce, refused: Option<String>) -> v1::Policy {
    let rules = in_force.policy.rules();
    v1::Policy {
        text: in_force.policy.text().to_owned(),
        version: in_force.policy.version().to_string(),
        source: match in_force.source {
            PolicySource::Shipped => v1::policy::Source::Shipped,
            PolicySource::File => v1::policy::Source::File,
            PolicySource::Set => v1::policy::Source::Set,
        }
        .into(),
        etag: in_force.revision.to_string(),
        principal: in_force.principal.to_string(),
        update_time: Some(timestamp(in_force.time_ms)),
        schema: nexus_gate::SCHEMA.to_owned(),
        rules: rules.into_iter().map(|(id, _)| id).collect(),
        refused: refused.unwrap_or_default(),
    }
}

/// What would become of an action, for the wire.
pub(crate) fn explanation(explanation: &Explanation) -> v1::Explanation {
    use v1::explanation::Result;
    let mut obstacles = Vec::new();
    obstacles.extend(explanation.uncovered.clone());
    obstacles.extend(explanation.blocked.clone());
    let (mut result, approvals, policies) = match &explanation.answer {
        Answer::Permitted {
            approvals: 0,
            policies,
        } => (Result::Permitted, 0, policies),
        Answer::Permitted {
            approvals,
            policies,
        } => (Result::Asks, *approvals, policies),
        Answer::Refused { policies, errors } => {
            obstacles.extend(errors.iter().cloned());
            obstacles.push(match policies.as_slice() {
                [] => "no rule permits it".to_owned(),
                policies => format!("forbidden by {}", policies.join(", ")),
            });
            (Result::Forbidden, 0, policies)
        }
    };
    if explanation.uncovered.is_some() || explanation.blocked.is_some() {
        result = Result::Forbidden;
    } else if explanation.unattended {
        result = Result::Unattended;
    }
    v1::Explanation {
        result: result.into(),
        approvals,
        policies: policies.clone(),
        obstacles,
        effect_class: class(explanation.class).into(),
        first_use: explanation.facts.first_use,
        high_entropy: explanation.high_entropy,
        steps: explanation
            .steps
            .iter()
            .map(|step| v1::explanation::Step {
                approvals: step.approvals,
                permitted: step.permitted,
                policies: step.policies.clone(),
                errors: step.errors.clone(),
            })
            .collect(),
        policy_version: explanation.policy.to_string(),
    }
}

/// A class for the wire.
pub(crate) fn class(class: EffectClass) -> v1::EffectClass {
    match class {
        EffectClass::Read => v1::EffectClass::Read,
        EffectClass::Internal => v1::EffectClass::Internal,
        EffectClass::External => v1::EffectClass::External,
        EffectClass::Irreversible => v1::EffectClass::Irreversible,
    }
}

/// A class from the wire; the least where none is said, as the host raises it.
pub(crate) fn effect_class(class: v1::EffectClass) -> EffectClass {
    match class {
        v1::EffectClass::Unspecified | v1::EffectClass::Read => EffectClass::Read,
        v1::EffectClass::Internal => EffectClass::Internal,
        v1::EffectClass::External => EffectClass::External,
        v1::EffectClass::Irreversible => EffectClass::Irreversible,
    }
}

/// A kind from the wire; an effect where none is said.
pub(crate) fn action_kind(kind: v1::ActionKind) -> ActionKind {
    match kind {
        v1::ActionKind::Unspecified | v1::ActionKind::Effect => ActionKind::Effect,
        v1::ActionKind::Publish => ActionKind::Publish,
        v1::ActionKind::Grant => ActionKind::Grant,
        v1::ActionKind::Reveal => ActionKind::Reveal,
    }
}

/// An origin from the wire; a client of the interface where none is said.
pub(crate) fn root_origin(origin: v1::RootOrigin) -> RootOrigin {
    match origin {
        v1::RootOrigin::Unspecified | v1::RootOrigin::Interactive => RootOrigin::Interactive,
        v1::RootOrigin::Schedule => RootOrigin::Schedule,
        v1::RootOrigin::Ingest => RootOrigin::Ingest,
        v1::RootOrigin::Mcp => RootOrigin::Mcp,
    }
}
