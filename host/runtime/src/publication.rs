//! Publishing through the gate: the one way for uploads and forged components.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{
    Action, ActionKind, Context, EffectClass, InvocationId, Payload, Permit, Principal, RootOrigin,
    kind,
};
use nexus_manifest::AgentName;
use serde_json::{Map, Value, json};

use crate::generation::Generation;
use crate::prepare::Prepared;
use crate::publish::{Publish, PublishError};
use crate::runtime::Runtime;

/// The field that names the owner of the agent that is replaced.
const REPLACES: &str = "replaces_agent_of";

impl Prepared {
    /// The action that publishes this component, as it is given to the gate: everything that a
    /// person who decides must see. `origin` says where the component came from, `replaces` whose
    /// agent it takes the place of if that is not `principal`: then a person is asked even if its
    /// permissions are free.
    pub fn action(
        &self,
        principal: &Principal,
        origin: Map<String, Value>,
        replaces: Option<&Principal>,
    ) -> Action {
        let manifest = &self.manifest;
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
                json!(self.permissions_digest),
            ),
            ("imports".to_owned(), json!(powers)),
            // Answered by the host itself, whoever asks: no file, no network, a clock that stands.
            (
                "virtual_imports".to_owned(),
                json!(virtual_imports.join(" ")),
            ),
            ("component_bytes".to_owned(), json!(self.component.len())),
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
        if let Some(owner) = replaces {
            fields.insert(REPLACES.to_owned(), json!(owner.as_str()));
        }
        let context = Context {
            agent: manifest.name.clone(),
            component: self.digest,
            manifest: Arc::clone(manifest),
            principal: principal.clone(),
            // A publication is no invocation, but it is one act with a name of its own.
            invocation: InvocationId::new(),
            root: RootOrigin::Interactive,
            chain: Vec::new(),
            chain_class: EffectClass::Read,
            reviewed: false,
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
            class: match replaces {
                Some(_) => EffectClass::External,
                None => EffectClass::Internal,
            },
            labels: BTreeSet::new(),
            payload: Payload::new(Value::Object(fields)),
        }
    }
}

impl Runtime {
    /// Whose agent a publication by `principal` would take the place of, if it is another's.
    pub fn replaces(&self, agent: &AgentName, principal: &Principal) -> Option<Principal> {
        self.get(agent)
            .map(|live| live.owner.clone())
            .filter(|owner| owner != principal)
    }

    /// Publishes what the gate has permitted: the permit is spent on this very component, in the
    /// commit that makes it the current generation. Another owner's agent is replaced only if a
    /// person was shown whose it is, and has agreed.
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
}

/// Whether a person has agreed that this owner's agent is replaced.
pub(crate) fn agreed(permit: &Permit<kind::Publish>, payload: &Payload, owner: &Principal) -> bool {
    permit.approval().is_some() && payload.fields[REPLACES] == owner.as_str()
}
