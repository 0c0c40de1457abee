//! What a person may have remembered of a question: one to three scopes, the narrowest first.

use nexus_manifest::{Permission, ReadRule};
use serde_json::Value;

use super::scope::{BodyScope, Scope, TargetScope, fields_digest, parts_digest, permissions};
use crate::grants::http_target;
use crate::{Action, ActionKind};

/// Members by which many services decide what a body does.
const DECIDING: [&str; 9] = [
    "/method",
    "/operationName",
    "/query",
    "/action",
    "/type",
    "/op",
    "/operation",
    "/command",
    "/event",
];

/// The scopes that may be remembered; none for what is no effect.
pub(crate) fn suggest(action: &Action) -> Vec<Scope> {
    let (ActionKind::Effect, Some(fields)) = (action.kind, fields_digest(&action.payload)) else {
        return Vec::new();
    };
    let context = &*action.context;
    let exact = Scope {
        agent: context.agent.clone(),
        component: Some(context.component),
        permissions: permissions(action),
        principal: context.principal.clone(),
        root: context.root,
        chain: context.chain.clone(),
        capability: action.capability.to_owned(),
        verb: action.verb.clone(),
        target: TargetScope::Exact(action.target.clone()),
        class: action.class,
        labels: action.labels.union(&context.labels).cloned().collect(),
        fields,
        body: match action.payload.parts.is_empty() {
            true => BodyScope::Empty,
            false => BodyScope::Same(parts_digest(&action.payload)),
        },
    };
    let mut scopes = vec![exact.clone()];
    let deciding = deciding(action);
    if let Some(rules) = &deciding {
        scopes.push(Scope {
            body: BodyScope::Members(rules.clone()),
            ..exact.clone()
        });
    }
    // The neighbours of a target are the same kind of thing only where the body says what is done to
    // them, or there is none.
    let body = match deciding {
        Some(rules) => Some(BodyScope::Members(rules)),
        None if action.payload.parts.is_empty() => Some(BodyScope::Empty),
        None => None,
    };
    if let (Some(parent), Some(body)) = (parent(action), body) {
        scopes.push(Scope {
            target: TargetScope::ChildOf(parent),
            body,
            ..exact
        });
    }
    scopes
}

/// The members that decide what the only body does: those that the manifest reads by, and those that
/// services usually go by. `None` if there is no such member, and for what is no JSON.
fn deciding(action: &Action) -> Option<Vec<ReadRule>> {
    let [part] = action.payload.parts.as_slice() else {
        return None;
    };
    let body: Value = serde_json::from_slice(&part.bytes).ok()?;
    let mut pointers: Vec<&str> = action
        .context
        .manifest
        .permissions
        .iter()
        .filter_map(|permission| match permission {
            Permission::Http(http) => Some(http.reads.iter().map(|rule| rule.pointer.as_str())),
            _ => None,
        })
        .flatten()
        .chain(DECIDING)
        .collect();
    pointers.sort_unstable();
    pointers.dedup();
    let rules: Vec<ReadRule> = pointers
        .into_iter()
        .filter_map(|pointer| {
            let value = body.pointer(pointer)?.as_str()?;
            Some(ReadRule {
                pointer: pointer.to_owned(),
                values: vec![value.to_owned()],
            })
        })
        .collect();
    // Two parsers must not read the body differently.
    (!rules.is_empty() && ReadRule::all_match(&rules, &part.bytes)).then_some(rules)
}

/// What stands before the last segment of an http target without a query.
fn parent(action: &Action) -> Option<String> {
    if action.capability != "http" || action.target.contains('?') {
        return None;
    }
    let (origin, target) = http_target(&action.target)?;
    let path = target.path();
    let (folder, last) = path.rsplit_once('/')?;
    // The root's children are everything.
    (!folder.is_empty() && !last.is_empty()).then(|| format!("{origin}{folder}/"))
}
