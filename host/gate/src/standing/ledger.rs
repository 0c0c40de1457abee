//! The standing grants in force, in memory: looked up only when a person would be asked, and never
//! from disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nexus_manifest::AgentName;
use nexus_store::Store;
use nexus_vault::Vault;

use super::rows::{self, GrantRow};
use super::{Scope, StandingGrant, never_allowed};
use crate::errors::QueryError;
use crate::{Action, GrantId, Principal, Verdict};

/// All grants, by agent.
#[derive(Default)]
pub(crate) struct Ledger {
    agents: HashMap<AgentName, BTreeMap<GrantId, Held>>,
}

struct Held {
    row: GrantRow,
    scope: Arc<Scope>,
    /// Uses that permits under way have taken and not yet counted.
    taken: Arc<AtomicU32>,
}

/// One use of a standing yes, taken for one permit. Given back if it is dropped.
pub(crate) struct Ticket {
    pub(crate) id: GrantId,
    taken: Option<Arc<AtomicU32>>,
}

impl Ticket {
    /// Notes that the use stands in the row now.
    fn counted(&mut self) {
        if let Some(taken) = self.taken.take() {
            taken.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.counted();
    }
}

/// What the ledger says of an action.
pub(crate) enum Found {
    /// A standing yes, and one of its uses.
    Allow(Ticket),
    /// A standing no.
    Deny(GrantId),
    /// Nothing: a person is asked. These grants have become void.
    Nothing(Vec<(GrantId, &'static str)>),
}

impl Ledger {
    /// Reads all grants.
    pub(crate) async fn open(store: &dyn Store, vault: &Vault) -> Result<Self, QueryError> {
        let mut ledger = Self::default();
        for (row, scope) in rows::all(store, vault).await? {
            ledger.enter(row, Arc::new(scope));
        }
        Ok(ledger)
    }

    pub(crate) fn enter(&mut self, row: GrantRow, scope: Arc<Scope>) {
        let held = Held {
            row,
            scope,
            taken: Arc::default(),
        };
        self.agents
            .entry(held.row.agent.clone())
            .or_default()
            .insert(held.row.id, held);
    }

    /// Notes that a use is counted on disk, and gives back what the permit had taken for it: in one step,
    /// so that no use is ever missing from both.
    pub(crate) fn counted(&mut self, agent: &AgentName, id: GrantId, ticket: Option<&mut Ticket>) {
        if let Some(ticket) = ticket {
            ticket.counted();
        }
        let Some(held) = self.agents.get_mut(agent).and_then(|all| all.get_mut(&id)) else {
            return;
        };
        held.row.uses = held.row.uses.saturating_add(1);
        held.row.uses_left = held.row.uses_left.saturating_sub(1);
        if held.row.uses_left == 0 {
            self.remove(agent, id);
        }
    }

    pub(crate) fn remove(&mut self, agent: &AgentName, id: GrantId) {
        if let Some(held) = self.agents.get_mut(agent) {
            held.remove(&id);
            if held.is_empty() {
                self.agents.remove(agent);
            }
        }
    }

    /// Looks for a grant that answers an action for which `required` people would be asked. A no goes
    /// before a yes, what is below the floor has no yes, and the word of someone who may no longer decide
    /// is none.
    pub(crate) fn find(
        &self,
        action: &Action,
        required: u32,
        now_ms: u64,
        may_decide: impl Fn(&Principal) -> bool,
    ) -> Found {
        let Some(held) = self.agents.get(&action.context.agent) else {
            return Found::Nothing(Vec::new());
        };
        let mut void = Vec::new();
        let covering: Vec<&Held> = held
            .values()
            .filter(|held| now_ms < held.row.expires_ms && held.scope.covers(action))
            .filter(|held| {
                let void_for = match held.row.verdict {
                    Verdict::Deny => None,
                    Verdict::Approve if held.scope.widened(action) => {
                        Some("the agent asks for more than when it was given")
                    }
                    Verdict::Approve if !may_decide(&held.row.principal) => {
                        Some("who gave it may no longer decide")
                    }
                    Verdict::Approve => None,
                };
                void.extend(void_for.map(|why| (held.row.id, why)));
                void_for.is_none()
            })
            .collect();
        if let Some(no) = covering.iter().find(|h| h.row.verdict == Verdict::Deny) {
            return Found::Deny(no.row.id);
        }
        let labels = action
            .labels
            .union(&action.context.labels)
            .cloned()
            .collect();
        if never_allowed(action.class, required, &labels).is_none() {
            for yes in covering {
                if yes.take() {
                    return Found::Allow(Ticket {
                        id: yes.row.id,
                        taken: Some(yes.taken.clone()),
                    });
                }
            }
        }
        Found::Nothing(void)
    }

    /// Those of one agent.
    pub(crate) fn of(&self, agent: &AgentName) -> Vec<GrantRow> {
        let held = self.agents.get(agent).into_iter().flatten();
        held.map(|(_, held)| held.row.clone()).collect()
    }

    /// Those whose time is over.
    pub(crate) fn expired(&self, now_ms: u64) -> Vec<GrantId> {
        self.agents
            .values()
            .flat_map(BTreeMap::values)
            .filter(|held| now_ms >= held.row.expires_ms)
            .map(|held| held.row.id)
            .collect()
    }

    /// All that are in force, oldest first.
    pub(crate) fn list(&self, agent: Option<&AgentName>, now_ms: u64) -> Vec<StandingGrant> {
        let mut found: Vec<StandingGrant> = self
            .agents
            .iter()
            .filter(|(name, _)| agent.is_none_or(|agent| agent == *name))
            .flat_map(|(_, held)| held.values())
            .filter(|held| now_ms < held.row.expires_ms)
            .map(|held| held.row.clone().with(Scope::clone(&held.scope)))
            .collect();
        found.sort_by_key(|grant| grant.id);
        found
    }
}

impl Held {
    /// Takes one of the uses that are left, if one is.
    fn take(&self) -> bool {
        let taken = self.taken.fetch_add(1, Ordering::SeqCst);
        let free = taken < self.row.uses_left;
        if !free {
            self.taken.fetch_sub(1, Ordering::SeqCst);
        }
        free
    }
}
