//! Which actions a standing grant answers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nexus_manifest::{AgentName, Digest, ReadRule};
use serde::{Deserialize, Serialize};

use crate::{Action, ActionKind, EffectClass, Label, Payload, Principal, RootOrigin};

/// Every field has to fit. What is not named here, above all headers and secrets, is bound by
/// `fields`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The agent that acts.
    pub agent: AgentName,
    /// Its component; any with no more permissions than `permissions` if absent.
    pub component: Option<Digest>,
    /// The manifest's permissions when the grant was given, one line each.
    pub permissions: BTreeSet<String>,
    /// On whose behalf.
    pub principal: Principal,
    /// Where the first call of the chain came from.
    pub root: RootOrigin,
    /// The agents between that origin and this one.
    pub chain: Vec<AgentName>,
    /// The capability.
    pub capability: String,
    /// The verb.
    pub verb: String,
    /// What it is done to.
    pub target: TargetScope,
    /// At most this class.
    pub class: EffectClass,
    /// No other labels than these.
    pub labels: BTreeSet<Label>,
    /// The digest of the payload's fields.
    pub fields: Digest,
    /// Which bodies.
    pub body: BodyScope,
}

/// Which targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetScope {
    /// This one.
    Exact(String),
    /// This text and one more path segment, without a query.
    ChildOf(String),
}

/// Which bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyScope {
    /// This one, by the digest of all parts.
    Same(Digest),
    /// JSON with these texts at these places, whatever else is in it.
    Members(Vec<ReadRule>),
    /// None.
    Empty,
}

impl TargetScope {
    fn covers(&self, target: &str) -> bool {
        match self {
            Self::Exact(text) => text == target,
            Self::ChildOf(parent) => target
                .strip_prefix(parent.as_str())
                .is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', '%', '\\'])),
        }
    }
}

impl std::fmt::Display for TargetScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::ChildOf(parent) => write!(f, "{parent}<one segment>"),
        }
    }
}

impl BodyScope {
    fn covers(&self, payload: &Payload) -> bool {
        match self {
            Self::Same(digest) => parts_digest(payload) == *digest,
            Self::Members(rules) => match payload.parts.as_slice() {
                [part] => ReadRule::all_match(rules, &part.bytes),
                _ => false,
            },
            Self::Empty => payload.parts.is_empty(),
        }
    }
}

impl Scope {
    /// Whether it answers this action. The permissions of another component are compared apart.
    pub(crate) fn covers(&self, action: &Action) -> bool {
        let context = &*action.context;
        action.kind == ActionKind::Effect
            && self.agent == context.agent
            && self
                .component
                .is_none_or(|digest| digest == context.component)
            && self.principal == context.principal
            && self.root == context.root
            && self.chain == context.chain
            && self.capability == action.capability
            && self.verb == action.verb
            && action.class <= self.class
            && action
                .labels
                .iter()
                .chain(&context.labels)
                .all(|label| self.labels.contains(label))
            && self.target.covers(&action.target)
            && fields_digest(&action.payload) == Some(self.fields)
            && self.body.covers(&action.payload)
    }

    /// Whether the agent may do more now than when the grant was given.
    pub(crate) fn widened(&self, action: &Action) -> bool {
        !permissions(action).is_subset(&self.permissions)
    }

    /// One line for a person: what would be answered without asking.
    pub fn summary(&self) -> String {
        let mut text = format!("{} {} {}", self.capability, self.verb, self.target);
        // Writing to a String cannot fail.
        let _ = match &self.body {
            BodyScope::Same(_) => write!(text, ", with exactly this content"),
            BodyScope::Empty => write!(text, ", without a body"),
            BodyScope::Members(rules) => {
                for rule in rules {
                    let values: Vec<_> = rule
                        .values
                        .iter()
                        .map(|value| crate::escape(value))
                        .collect();
                    let _ = write!(
                        text,
                        ", where {} of the body is \"{}\"",
                        rule.pointer,
                        values.join("\" or \"")
                    );
                }
                write!(text, ", whatever else the body holds")
            }
        };
        let _ = write!(
            text,
            "; by {} for {}, started by {}, with the same headers and secrets",
            self.agent, self.principal, self.root
        );
        text
    }
}

/// The manifest's permissions, one line each.
pub(super) fn permissions(action: &Action) -> BTreeSet<String> {
    let permissions = &action.context.manifest.permissions;
    permissions.iter().map(ToString::to_string).collect()
}

/// The digest of the payload's fields, in their one encoding.
pub(super) fn fields_digest(payload: &Payload) -> Option<Digest> {
    serde_json_canonicalizer::to_vec(&payload.fields)
        .ok()
        .map(|bytes| Digest::of(&bytes))
}

/// The digest of all parts: names, types, bytes.
pub(crate) fn parts_digest(payload: &Payload) -> Digest {
    let mut text = String::new();
    for part in &payload.parts {
        // Lengths first, so that no name can pass for the rest of another part.
        let _ = write!(
            text,
            "{}:{}:{}{}{}",
            part.name.len(),
            part.media_type.len(),
            part.name,
            part.media_type,
            part.digest().to_hex()
        );
    }
    Digest::of(text.as_bytes())
}
