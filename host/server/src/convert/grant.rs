//! Standing grants and what may become one.

use nexus_gate::{BodyScope, RootOrigin, Scope, StandingGrant, TargetScope, Verdict};
use nexus_proto::v1;

use super::policy::class;
use super::timestamp;

/// A standing grant for the wire.
pub(crate) fn grant(grant: &StandingGrant) -> v1::Grant {
    v1::Grant {
        name: format!("grants/{}", grant.id),
        verdict: match grant.verdict {
            Verdict::Approve => v1::Verdict::Approve,
            Verdict::Deny => v1::Verdict::Deny,
        }
        .into(),
        summary: grant.scope.summary(),
        scope: Some(scope(&grant.scope)),
        principal: grant.principal.to_string(),
        approval: format!("approvals/{}", grant.approval),
        reason: grant.reason.clone().unwrap_or_default(),
        create_time: Some(timestamp(grant.created_ms)),
        expire_time: Some(timestamp(grant.expires_ms)),
        uses: grant.uses,
        uses_left: grant.uses_left,
    }
}

/// What may be remembered of an approval.
pub(crate) fn suggestion(suggested: &Scope) -> v1::Suggestion {
    v1::Suggestion {
        summary: suggested.summary(),
        scope: Some(scope(suggested)),
    }
}

fn scope(scope: &Scope) -> v1::GrantScope {
    let (target, target_children) = match &scope.target {
        TargetScope::Exact(text) => (text, false),
        TargetScope::ChildOf(parent) => (parent, true),
    };
    let (body_digest, body_members) = match &scope.body {
        BodyScope::Same(digest) => (digest.to_string(), Vec::new()),
        BodyScope::Empty => (String::new(), Vec::new()),
        BodyScope::Members(rules) => {
            let member = |rule: &nexus_manifest::ReadRule| v1::BodyMember {
                pointer: rule.pointer.clone(),
                values: rule.values.clone(),
            };
            (String::new(), rules.iter().map(member).collect())
        }
    };
    v1::GrantScope {
        agent: crate::names::of_agent(&scope.agent),
        component_digest: scope
            .component
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        principal: scope.principal.to_string(),
        root_origin: root(scope.root).into(),
        chain: scope.chain.iter().map(crate::names::of_agent).collect(),
        capability: scope.capability.clone(),
        verb: scope.verb.clone(),
        target: target.clone(),
        target_children,
        effect_class: class(scope.class).into(),
        labels: scope.labels.iter().map(ToString::to_string).collect(),
        body_digest,
        body_members,
    }
}

pub(super) fn root(root: RootOrigin) -> v1::RootOrigin {
    match root {
        RootOrigin::Interactive => v1::RootOrigin::Interactive,
        RootOrigin::Schedule => v1::RootOrigin::Schedule,
        RootOrigin::Ingest => v1::RootOrigin::Ingest,
        RootOrigin::Mcp => v1::RootOrigin::Mcp,
    }
}
