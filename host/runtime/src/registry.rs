//! Which generation of which agent answers now. One pointer for each agent;
//! reading it takes no lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use nexus_gate::Principal;
use nexus_manifest::{AgentName, Digest};
use nexus_store::Table;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::generation::Generation;
use crate::padded::Padded;

/// By agent: which generation is current, and which number comes next.
pub(crate) const AGENTS: Table = Table("agents");
/// By agent, then number.
pub(crate) const GENERATIONS: Table = Table("generations");

/// What happened to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentChange {
    /// The agent.
    pub agent: AgentName,
    /// What happened.
    pub change: Change,
}

/// What happened to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This generation answers from now on.
    Published(u64),
    /// This earlier generation answers again.
    RolledBack(u64),
    /// The agent is gone.
    Removed,
}

/// The row of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentRow {
    pub(crate) current: u64,
    pub(crate) next: u64,
    pub(crate) owner: Principal,
}

/// A generation as it is stored: what is needed to load it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationInfo {
    /// The agent.
    pub agent: AgentName,
    /// Counts up from 1 for each agent.
    pub number: u64,
    /// The digest of the whole component.
    pub digest: Digest,
    /// The digest of its code alone, by which its artifact is found.
    pub(crate) code: Digest,
    /// The digest of what it may do.
    pub permissions: Digest,
    /// The version that its manifest gives.
    pub version: String,
    /// Who published it.
    pub owner: Principal,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// Where it came from.
    pub lineage: Option<serde_json::Value>,
    /// Whether a person has reviewed what its manifest asks for.
    #[serde(default)]
    pub reviewed: bool,
}

/// The key of a generation: numbers sort behind their agent.
pub(crate) fn generation_key(agent: &AgentName, number: u64) -> Vec<u8> {
    let mut key = generation_prefix(agent);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn generation_prefix(agent: &AgentName) -> Vec<u8> {
    [agent.as_str().as_bytes(), b"\0"].concat()
}

/// One agent in memory.
pub(crate) struct Agent {
    current: ArcSwap<Generation>,
    active: Padded<AtomicUsize>,
}

impl Agent {
    pub(crate) fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Counts one more invocation, unless there are `limit` already.
    pub(crate) fn admit(&self, limit: usize) -> bool {
        if self.active.fetch_add(1, Ordering::AcqRel) >= limit {
            self.leave();
            return false;
        }
        true
    }

    pub(crate) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) struct Registry {
    agents: ArcSwap<HashMap<AgentName, Arc<Agent>>>,
    /// Agents whose current generation could not be loaded, and why.
    broken: Mutex<HashMap<AgentName, String>>,
    changes: broadcast::Sender<AgentChange>,
    /// Held while an agent changes. Readers never wait for it.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            agents: ArcSwap::default(),
            broken: Mutex::default(),
            changes: broadcast::channel(256).0,
            changing: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn agent(&self, name: &AgentName) -> Option<Arc<Agent>> {
        self.agents.load().get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Generation>> {
        let mut all: Vec<_> = self
            .agents
            .load()
            .values()
            .map(|agent| agent.current())
            .collect();
        all.sort_unstable_by(|a, b| a.agent().cmp(b.agent()));
        all
    }

    /// Lets a generation answer from now on.
    pub(crate) fn set(&self, generation: Arc<Generation>) {
        let name = generation.agent().clone();
        self.broken_map().remove(&name);
        if let Some(agent) = self.agent(&name) {
            agent.current.store(generation);
            return;
        }
        let agent = Arc::new(Agent {
            current: ArcSwap::new(generation),
            active: Padded(AtomicUsize::new(0)),
        });
        self.agents.rcu(|agents| {
            let mut agents = HashMap::clone(agents);
            agents.insert(name.clone(), Arc::clone(&agent));
            agents
        });
    }

    pub(crate) fn remove(&self, name: &AgentName) {
        self.broken_map().remove(name);
        self.agents.rcu(|agents| {
            let mut agents = HashMap::clone(agents);
            agents.remove(name);
            agents
        });
    }

    pub(crate) fn set_broken(&self, name: AgentName, why: String) {
        self.broken_map().insert(name, why);
    }

    pub(crate) fn broken(&self) -> Vec<(AgentName, String)> {
        let mut broken: Vec<_> = self
            .broken_map()
            .iter()
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect();
        broken.sort_unstable();
        broken
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<AgentChange> {
        self.changes.subscribe()
    }

    pub(crate) fn tell(&self, agent: AgentName, change: Change) {
        // Nobody listening is the usual case.
        let _ = self.changes.send(AgentChange { agent, change });
    }

    fn broken_map(&self) -> std::sync::MutexGuard<'_, HashMap<AgentName, String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
