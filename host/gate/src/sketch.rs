//! An action in a few words, for asking what a policy would say of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::known::CALLEE;
use crate::{Action, ActionKind, Callee, Context, EffectClass, Label, Payload, kind};

/// An action as people describe it. It can be asked about and never be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// What kind of thing it is.
    pub kind: ActionKind,
    /// The capability, such as `http`.
    pub capability: String,
    /// The verb, such as `POST`.
    pub verb: String,
    /// What it is done to, as [`Action`] writes it.
    pub target: String,
    /// At least how far it reaches.
    pub class: EffectClass,
    /// What is known of the data behind it.
    pub labels: BTreeSet<Label>,
    /// Headers, `name: value`.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
    /// The tags of the peer.
    pub tags: Vec<String>,
    /// The peer.
    pub callee: Option<Callee>,
}

/// A sketch that no action fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no action {verb:?} of the capability {capability:?} and the kind {}", .kind.as_str())]
pub struct SketchError {
    kind: ActionKind,
    capability: String,
    verb: String,
}

impl Sketch {
    /// An effect without anything but these.
    pub fn new(
        capability: impl Into<String>,
        verb: impl Into<String>,
        target: impl Into<String>,
    ) -> Self {
        Self {
            kind: ActionKind::Effect,
            capability: capability.into(),
            verb: verb.into(),
            target: target.into(),
            class: EffectClass::Read,
            labels: BTreeSet::new(),
            headers: Vec::new(),
            body: String::new(),
            tags: Vec::new(),
            callee: None,
        }
    }

    /// The action, by whom the context says.
    pub fn action(&self, context: Arc<Context>) -> Result<Action, SketchError> {
        let known = kind::find(self.kind, &self.capability, &self.verb);
        let known = known.ok_or_else(|| SketchError {
            kind: self.kind,
            capability: self.capability.clone(),
            verb: self.verb.clone(),
        })?;
        let mut payload = Payload::new(json!({ "headers": self.headers, "tags": self.tags }));
        if let Some(callee) = &self.callee {
            payload.fields[CALLEE] = json!(callee);
        }
        if !self.body.is_empty() {
            payload = payload.with_part("body", "application/octet-stream", self.body.clone());
        }
        Ok(Action {
            kind: self.kind,
            context,
            sequence: 1,
            capability: known.capability,
            verb: self.verb.clone(),
            target: self.target.clone(),
            class: self.class,
            labels: self.labels.clone(),
            payload,
        })
    }
}
