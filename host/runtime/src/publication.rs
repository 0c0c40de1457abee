//! Publishing through the gate: the one way for uploads and forged components.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{
    Action, ActionKind, Context, EffectClass, InvocationId, Payload, Permit, Principal, RootOrigin,
    kind,
};
use nexus_manifest::{AgentName, Digest, Manifest};
use serde_json::{Map, Value, json};

use crate::generation::Generation;
use crate::prepare::Prepared;
use crate::publish::{Publish, PublishError};
use crate::runtime::Runtime;
use crate::succession::Succession;

/// A component that is to answer, as a person sees it.
struct Subject<'a> {
    manifest: &'a Arc<Manifest>,
    digest: Digest,
    imports: &'a [String],
    bytes: Option<usize>,
}

impl Prepared {
    /// The action that publishes this component, as it is given to the gate: everything that a
    /// person who decides must see. `origin` says where the component came from. Where it takes
    /// another's place or may do more than what came before it, a person is asked even if its
    /// permissions are free.
    pub fn action(
        &self,
        principal: &Principal,
        root: RootOrigin,
        origin: Map<String, Value>,
        succession: &Succession,
    ) -> Action {
        let subject = Subject {
            manifest: &self.manifest,
            digest: self.digest,
            imports: &self.imports,
            bytes: Some(self.component.len()),
        };
        subject.action(principal, root, origin, succession)
    }
}

impl Generation {
    /// The action that lets this generation answer again.
    pub fn rollback_action(&self, principal: &Principal, succession: &Succession) -> Action {
        let subject = Subject {
            manifest: &self.manifest,
            digest: self.digest,
            imports: self.imports(),
            bytes: None,
        };
        let origin = Map::from_iter([
            ("mode".to_owned(), json!("rollback")),
            ("generation".to_owned(), json!(self.number)),
        ]);
        subject.action(principal, RootOrigin::Interactive, origin, succession)
    }
}

impl Subject<'_> {
    fn action(
        &self,
        principal: &Principal,
        root: RootOrigin,
        origin: Map<String, Value>,
        succession: &Succession,
    ) -> Action {
        let manifest = self.manifest;
        let lines = |all: &[nexus_manifest::Permission]| -> Vec<String> {
            all.iter().map(ToString::to_string).collect()
        };
        let (powers, virtual_imports): (Vec<_>, Vec<_>) = self
            .imports
            .iter()
            .map(String::as_str)
            .partition(|import| import.starts_with("nexus:"));
        let mut fields = origin;
        fields.extend([
            ("summary".to_owned(), json!(manifest.summary)),
            ("version".to_owned(), json!(manifest.version)),
            (
                "permissions".to_owned(),
                json!(lines(&manifest.permissions)),
            ),
            (
                "permissions_digest".to_owned(),
                json!(manifest.permissions_digest()),
            ),
            ("imports".to_owned(), json!(powers)),
            // Answered by the host itself, whoever asks: no file, no network, a clock that stands.
            (
                "virtual_imports".to_owned(),
                json!(virtual_imports.join(" ")),
            ),
            ("component_bytes".to_owned(), json!(self.bytes)),
            (
                "schedule".to_owned(),
                json!(
                    manifest
                        .schedule
                        .as_ref()
                        .map(|schedule| format!("{} {}", schedule.cron, schedule.zone))
                ),
            ),
        ]);
        succession.describe(&mut fields);
        let context = Context {
            agent: manifest.name.clone(),
            component: self.digest,
            manifest: Arc::clone(manifest),
            principal: principal.clone(),
            // A publication is no invocation, but it is one act with a name of its own.
            invocation: InvocationId::new(),
            root,
            chain: Vec::new(),
            chain_class: EffectClass::Read,
            reviewed: false,
            shadow: false,
            labels: BTreeSet::new(),
        };
        Action {
            kind: ActionKind::Publish,
            context: Arc::new(context),
            sequence: 1,
            capability: "agents",
            verb: "publish".to_owned(),
            target: manifest.name.to_string(),
            // The gate raises it to what the permissions are.
            class: match &succession.owner {
                Some(_) => EffectClass::External,
                None => EffectClass::Internal,
            },
            labels: BTreeSet::new(),
            payload: Payload::new(Value::Object(fields)),
        }
    }
}

impl Runtime {
    /// Publishes what the gate has permitted: the permit is spent on this very component, in the
    /// commit that makes it the current generation. Another owner's agent is replaced only if a
    /// person was shown whose it is, and has agreed; permissions are widened only if a person was
    /// shown how, against the generation that is live then.
    pub async fn publish_permitted(
        &self,
        permit: Permit<kind::Publish>,
        payload: &Payload,
        prepared: Prepared,
        mut publish: Publish,
    ) -> Result<Arc<Generation>, PublishError> {
        if permit.action().context.component != prepared.digest {
            return Err(PublishError::OtherComponent);
        }
        publish.reviewed |= permit.approval().is_some();
        self.publish_in(prepared, publish, Some((permit, payload)))
            .await
    }

    /// A kept generation, ready to answer again, and what it would come after.
    pub async fn retained(
        &self,
        agent: &AgentName,
        number: u64,
        principal: &Principal,
    ) -> Result<(Arc<Generation>, Succession), PublishError> {
        let generation = self.kept_generation(agent, number).await?;
        let root = RootOrigin::Interactive;
        let mut succession = self.succession(&generation.manifest, principal, root);
        // Whoever rolls back, the agent stays its owner's.
        succession.owner = None;
        Ok((generation, succession))
    }
}
