//! Actions and their canonical encoding, the text that an approval is bound to.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_manifest::Digest;
use serde::{Deserialize, Serialize};

use crate::payload::{EncodingError, check_integer};
use crate::{Context, EffectClass, Label, Nonce, Payload, PolicyVersion};

/// What kind of thing an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// An agent does something.
    Effect,
    /// A component becomes callable.
    Publish,
    /// A right is given.
    Grant,
    /// A secret's value becomes visible to an agent.
    Reveal,
}

impl ActionKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Effect => "effect",
            Self::Publish => "publish",
            Self::Grant => "grant",
            Self::Reveal => "reveal",
        }
    }
}

/// Something that is about to happen, complete.
///
/// The host makes it from the bytes it will send. Targets are written so:
/// `http`: origin and canonical path, `https://api.example.com/v1/orders?x=1`;
/// `memory`: the space, or `SPACE/KEY`; `bus`: the peer's name (tags that the grant may rest on
/// stand in the payload's field `tags`), or `*` for listing; `vault`: the secret's name;
/// `agents`: the agent's name.
#[derive(Debug, Clone)]
pub struct Action {
    /// What kind of thing it is.
    pub kind: ActionKind,
    /// Who acts, for whom.
    pub context: Arc<Context>,
    /// The number of the host call within the invocation.
    pub sequence: u64,
    /// The capability, such as `http`.
    pub capability: &'static str,
    /// The verb, such as `POST`.
    pub verb: String,
    /// What it is done to.
    pub target: String,
    /// At least how far it reaches; the gate raises it to what the host knows, and never lowers it.
    pub class: EffectClass,
    /// Labels beyond those of the context; the gate adds the context's.
    pub labels: BTreeSet<Label>,
    /// Everything it carries.
    pub payload: Payload,
}

/// The canonical encoding, field by field. Documented in `docs/action-encoding.md`.
#[derive(Serialize)]
struct Canonical<'a> {
    agent: &'a str,
    capability: &'a str,
    chain: Vec<&'a str>,
    class: &'a str,
    component: Digest,
    format: u8,
    invocation: String,
    kind: &'a str,
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    origin: &'a str,
    payload: CanonicalPayload<'a>,
    policy: Digest,
    principal: &'a str,
    sequence: u64,
    target: &'a str,
    verb: &'a str,
}

#[derive(Serialize)]
struct CanonicalPayload<'a> {
    fields: &'a serde_json::Value,
    parts: Vec<CanonicalPart<'a>>,
}

#[derive(Serialize)]
struct CanonicalPart<'a> {
    length: u64,
    media_type: &'a str,
    name: &'a str,
    sha256: String,
}

impl Action {
    /// The RFC 8785 encoding under a policy version; payload bytes stand in it by length, media type
    /// and SHA-256. Equal encodings are equal actions.
    pub fn canonical(&self, policy: &PolicyVersion) -> Result<Vec<u8>, EncodingError> {
        self.canonical_with(&self.payload, policy, None)
    }

    /// The encoding of a question about this action, which differs from that of every other question
    /// by its nonce.
    pub fn canonical_question(
        &self,
        policy: &PolicyVersion,
        nonce: &Nonce,
    ) -> Result<Vec<u8>, EncodingError> {
        self.canonical_with(&self.payload, policy, Some(nonce))
    }

    /// SHA-256 of the canonical encoding.
    pub fn digest(&self, policy: &PolicyVersion) -> Result<Digest, EncodingError> {
        Ok(Digest::of(&self.canonical(policy)?))
    }

    /// The encoding of this action carrying another payload: what is about to be sent, for comparison.
    pub(crate) fn canonical_with(
        &self,
        payload: &Payload,
        policy: &PolicyVersion,
        nonce: Option<&Nonce>,
    ) -> Result<Vec<u8>, EncodingError> {
        payload.check()?;
        check_integer(self.sequence, "sequence")?;
        let context = &*self.context;
        let labels: BTreeSet<&Label> = self.labels.iter().chain(&context.labels).collect();
        let mut labels: Vec<String> = labels.into_iter().map(Label::to_string).collect();
        labels.sort();
        let canonical = Canonical {
            agent: context.agent.as_str(),
            capability: self.capability,
            chain: context.chain.iter().map(|agent| agent.as_str()).collect(),
            class: self.class.as_str(),
            component: context.component,
            format: 1,
            invocation: context.invocation.to_string(),
            kind: self.kind.as_str(),
            labels,
            nonce: nonce.map(|nonce| nonce.to_hex()),
            origin: context.root.as_str(),
            payload: CanonicalPayload {
                fields: &payload.fields,
                parts: payload
                    .parts
                    .iter()
                    .map(|part| CanonicalPart {
                        length: part.bytes.len() as u64,
                        media_type: &part.media_type,
                        name: &part.name,
                        sha256: part.digest().to_hex(),
                    })
                    .collect(),
            },
            policy: policy.digest(),
            principal: context.principal.as_str(),
            sequence: self.sequence,
            target: &self.target,
            verb: &self.verb,
        };
        serde_json_canonicalizer::to_vec(&canonical)
            .map_err(|error| EncodingError::Encoder(error.to_string()))
    }
}
