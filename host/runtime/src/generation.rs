//! A published component: immutable, shared, and replaced by the next as a whole.

use std::sync::{Arc, OnceLock};

use nexus_gate::Principal;
use nexus_manifest::{AgentName, Digest, Manifest};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::limits::HostLimits;
use crate::live::Home;
use crate::state::State;

/// One version of an agent, ready to be instantiated. An invocation ends on the
/// generation that it began on.
pub struct Generation {
    /// Counts up from 1 for each agent and is never used twice.
    pub number: u64,
    /// The digest of the whole component.
    pub digest: Digest,
    /// What the component says of itself and may ask for.
    pub manifest: Arc<Manifest>,
    /// Whose agent it is, who alone may replace it without a person's consent.
    pub owner: Principal,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// Where it came from, as the publisher told it: prompt, source, toolchain.
    pub lineage: Option<serde_json::Value>,
    /// Whether a person has reviewed what the manifest asks for.
    pub reviewed: bool,
    pub(crate) loaded: Arc<Loaded>,
}

impl Generation {
    /// The agent's name.
    pub fn agent(&self) -> &AgentName {
        &self.manifest.name
    }

    /// The interfaces that the component imports, by their full names.
    pub fn imports(&self) -> &[String] {
        &self.loaded.imports
    }

    /// The digest of what the component may do, which a person accepts.
    pub fn permissions_digest(&self) -> Digest {
        self.manifest.permissions_digest()
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("agent", self.agent())
            .field("number", &self.number)
            .field("digest", &self.digest)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// A component that has been compiled, proved and linked.
pub(crate) struct Loaded {
    /// The digest of the code alone, by which its artifact is found.
    pub(crate) code: Digest,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) imports: Vec<String>,
    /// The host's limits, lowered by the manifest.
    pub(crate) limits: HostLimits,
    /// On the first pool.
    pub(crate) first: Entry,
    /// On the other pools, in their order; made once the generation answers.
    pub(crate) others: Box<[OnceLock<Entry>]>,
    /// For when the pool has no free slot; made when it is first needed.
    pub(crate) fallback: tokio::sync::OnceCell<Entry>,
    /// The exported handler's full name.
    pub(crate) handler: String,
}

impl Loaded {
    /// What instances of the current thread are made from.
    pub(crate) fn here(&self) -> &Entry {
        match Home::here().of(self.others.len() + 1) {
            0 => &self.first,
            other => self.others[other - 1].get().unwrap_or(&self.first),
        }
    }
}

/// What an instance is made from, on one engine.
pub(crate) struct Entry {
    pub(crate) pre: InstancePre<State>,
    /// The function `invoke`, looked up once.
    pub(crate) invoke: ComponentExportIndex,
}

impl Entry {
    pub(crate) fn new(
        linker: &Linker<State>,
        component: &Component,
        handler: &str,
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let invoke = component
            .get_export_index(None, handler)
            .and_then(|interface| component.get_export_index(Some(&interface), "invoke"))
            .ok_or_else(|| wasmtime::format_err!("`{handler}` has no function `invoke`"))?;
        Ok(Self { pre, invoke })
    }
}
