//! What a publication comes after: whose place it takes, and what it may do beyond what was allowed.

use nexus_gate::{Payload, Permit, Principal, RootOrigin, kind};
use nexus_manifest::{AgentName, Manifest, Permission, PermissionDiff};
use serde_json::{Map, Value, json};

use crate::generation::Generation;
use crate::runtime::Runtime;

/// The field that names the owner of the agent that is replaced.
const REPLACES: &str = "replaces_agent_of";
/// The field that names the generation with which the permissions are compared.
const COMPARED: &str = "compared_with_generation";

/// What a publication comes after.
#[derive(Debug, Clone)]
pub struct Succession {
    /// Whose agent it takes the place of, if that is another than the one who publishes.
    pub owner: Option<Principal>,
    /// The live generation. `None`: there is none, or none that could be loaded.
    pub generation: Option<u64>,
    /// From the permissions before to those now. Before the first generation there are none.
    pub permissions: PermissionDiff,
    /// Whether it may do more than what a person has accepted, and so needs one. A first generation
    /// does not for that reason, unless data from outside made it.
    pub widens: bool,
}

impl Runtime {
    /// What a component with this manifest would come after, published by `principal` now. What data
    /// has triggered starts with nothing.
    pub fn succession(
        &self,
        manifest: &Manifest,
        principal: &Principal,
        root: RootOrigin,
    ) -> Succession {
        let live = self.get(&manifest.name);
        let is_broken = live.is_none() && self.is_broken(&manifest.name);
        let before = before(live.as_deref());
        let permissions = PermissionDiff::between(before, &manifest.permissions);
        let widens = match root {
            RootOrigin::Ingest => !manifest.permissions.is_empty(),
            _ => permissions.widens && (live.is_some() || is_broken),
        };
        Succession {
            owner: live
                .as_ref()
                .map(|live| live.owner.clone())
                .filter(|owner| owner != principal),
            generation: live.map(|live| live.number),
            permissions,
            widens,
        }
    }

    fn is_broken(&self, agent: &AgentName) -> bool {
        self.broken().iter().any(|(name, _)| name == agent)
    }
}

/// What is allowed so far.
fn before(live: Option<&Generation>) -> &[Permission] {
    live.map_or(&[], |live| &live.manifest.permissions)
}

impl Succession {
    /// What a person who decides sees of it.
    pub(crate) fn describe(&self, fields: &mut Map<String, Value>) {
        if let Some(owner) = &self.owner {
            fields.insert(REPLACES.to_owned(), json!(owner.as_str()));
        }
        if self.generation.is_none() && !self.widens {
            return;
        }
        let lines =
            |all: &[Permission]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
        let diff = &self.permissions;
        let changed: Vec<String> = diff
            .changed
            .iter()
            .map(|(before, after)| format!("{before} -> {after}"))
            .collect();
        fields.extend([
            (COMPARED.to_owned(), json!(self.generation)),
            ("permissions_added".to_owned(), json!(lines(&diff.added))),
            ("permissions_changed".to_owned(), json!(changed)),
            (
                "permissions_removed".to_owned(),
                json!(lines(&diff.removed)),
            ),
            (nexus_gate::WIDENS.to_owned(), json!(self.widens)),
        ]);
    }
}

/// Whether a person has agreed that this owner's agent is replaced.
pub(crate) fn agreed(permit: &Permit<kind::Publish>, payload: &Payload, owner: &Principal) -> bool {
    permit.approval().is_some() && payload.fields[REPLACES] == owner.as_str()
}

/// Whether the permit allows these permissions after the live generation: they are no wider, or a
/// person was shown how they differ from exactly that one. `exists`: the agent is there, though its
/// generation may not be.
pub(crate) fn reviewed(
    permit: &Permit<kind::Publish>,
    payload: &Payload,
    live: Option<&Generation>,
    exists: bool,
    permissions: &[Permission],
) -> bool {
    let widens = exists && PermissionDiff::between(before(live), permissions).widens;
    let shown = || {
        payload.fields[nexus_gate::WIDENS] == true
            && payload.fields[COMPARED] == json!(live.map(|live| live.number))
    };
    !widens || (permit.approval().is_some() && shown())
}
