//! Where each agent has been let go, and which peers it has been let call: what `first_use` is told from.
//!
//! An agent is remembered by its name, with what it asked for at the time. A later component that asks
//! for no more goes on being known, so that saving a file does not ask again; one that asks for more is
//! new. A peer is remembered by its name, too, with its component, its owner and what it asked for: it
//! is new again once it is another component that asks for more or belongs to somebody else.

use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

use nexus_manifest::{AgentName, Digest, Manifest, Peer, PeerPermission, Permission};
use nexus_store::{Commit, ReadError, Scan, Store, Table, now_ms};
use serde::{Deserialize, Serialize};

use crate::gate::Gate;
use crate::question::Facts;
use crate::{Action, ActionKind, Principal};

/// By agent, a zero byte, and place.
const KNOWN: Table = Table("known_places");

/// The member of a call's fields that says who is called.
pub(crate) const CALLEE: &str = "callee";

/// The agent that a call goes to, as it is when the call is made. Part of what a person approves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callee {
    /// Its component.
    pub component: Digest,
    /// Whose agent it is.
    pub owner: Principal,
    /// What it may do, one line each.
    pub permissions: BTreeSet<String>,
}

impl Callee {
    /// The agent with this component, owner and manifest.
    pub fn new(component: Digest, owner: Principal, manifest: &Manifest) -> Self {
        Self {
            component,
            owner,
            permissions: lines(manifest),
        }
    }

    /// Whether this is still the agent that was agreed to: the same component, or its owner's next one
    /// that asks for nothing more.
    fn is_still(&self, agreed: &Self) -> bool {
        self.component == agreed.component
            || (self.owner == agreed.owner && self.permissions.is_subset(&agreed.permissions))
    }
}

/// One place that one agent has been let go to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    format: u8,
    /// The agent's component when it was let go there.
    component: Digest,
    /// What that component might ask for, one line each.
    permissions: BTreeSet<String>,
    /// Of a peer: who it was.
    callee: Option<Callee>,
    time_ms: u64,
}

/// A place that an agent is about to become known at. It does once it is entered.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    agent: AgentName,
    place: String,
    row: Row,
    /// Whether it takes a person's word.
    asks: bool,
}

/// The places that a manifest names and a person has accepted.
#[derive(Debug, Default)]
#[must_use = "they are known once they are committed and entered"]
pub struct Introductions(Vec<Introduction>);

/// What is remembered of an action.
pub(crate) struct Sighting {
    pub(crate) facts: Facts,
    /// What is to be remembered if the action happens.
    pub(crate) introduction: Option<Introduction>,
}

type Places = HashMap<String, Row>;

/// All that is remembered, in memory: every action looks here, and none reads the disk for it.
#[derive(Debug, Default)]
pub(crate) struct Known(RwLock<HashMap<AgentName, Places>>);

impl Known {
    /// Reads everything. A row that does not read is none: what it was about is asked again.
    pub(crate) async fn open(store: &dyn Store) -> Result<Self, ReadError> {
        let mut agents: HashMap<AgentName, Places> = HashMap::new();
        for (key, bytes) in store.scan(KNOWN, Scan::default()).await? {
            let Some((agent, place)) = std::str::from_utf8(&key).ok().and_then(split) else {
                continue;
            };
            match serde_json::from_slice::<Row>(&bytes) {
                Ok(row) if row.format == 1 => {
                    agents.entry(agent).or_default().insert(place, row);
                }
                _ => {
                    tracing::error!(%agent, place, "a known place does not read; it is asked about anew");
                }
            }
        }
        Ok(Self(RwLock::new(agents)))
    }

    /// Whether the action leads where no person has seen this agent go.
    pub(crate) fn look(&self, action: &Action) -> Sighting {
        let known = Sighting {
            facts: Facts::default(),
            introduction: None,
        };
        if action.kind != ActionKind::Effect {
            return known;
        }
        match (action.capability, action.verb.as_str()) {
            // Whoever accepted the manifest has read every origin in it.
            ("http", _) if action.context.reviewed => known,
            ("http", _) => self.look_at_origin(action),
            ("bus", "call") => self.look_at_peer(action),
            _ => known,
        }
    }

    fn look_at_origin(&self, action: &Action) -> Sighting {
        let place = format!("http {}", origin(&action.target));
        let first_use = !self.recalls(action, &place);
        Sighting {
            facts: Facts { first_use },
            introduction: first_use.then(|| Introduction::of(action, place, None, true)),
        }
    }

    /// A peer that the manifest names is known by that until it changes into something else; one that it
    /// knows by a tag has to be met first.
    fn look_at_peer(&self, action: &Action) -> Sighting {
        let place = format!("bus {}", action.target);
        let callee = callee(action);
        let named = action.context.manifest.permissions.iter().any(|permission| {
            matches!(permission, Permission::Peer(PeerPermission { peer: Peer::Agent(name), .. }) if name.as_str() == action.target)
        });
        let (met, same) = {
            let agents = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let places = agents.get(&action.context.agent);
            let agreed = places.and_then(|all| all.get(&place)?.callee.as_ref());
            let same = agreed.zip(callee.as_ref());
            (
                agreed.is_some(),
                same.is_some_and(|(agreed, callee)| callee.is_still(agreed)),
            )
        };
        let first_use = match named {
            // Who is not there is not met; the call comes to nothing.
            true => met && !same && callee.is_some(),
            false => !same || !self.recalls(action, &place),
        };
        let introduction = (first_use || !met)
            .then(|| Introduction::of(action, place, callee, first_use))
            .filter(|introduction| introduction.row.callee.is_some());
        Sighting {
            facts: Facts { first_use },
            introduction,
        }
    }

    /// Whether this agent, asking for no more than then, has been let go to a place.
    fn recalls(&self, action: &Action, place: &str) -> bool {
        let context = &*action.context;
        let permissions = {
            let agents = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let Some(row) = agents.get(&context.agent).and_then(|all| all.get(place)) else {
                return false;
            };
            if row.component == context.component {
                return true;
            }
            row.permissions.clone()
        };
        if !lines(&context.manifest).is_subset(&permissions) {
            return false;
        }
        // The next look is quick again. What it may ask for stays as it was agreed to.
        let mut agents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = agents
            .get_mut(&context.agent)
            .and_then(|all| all.get_mut(place))
        {
            row.component = context.component;
        }
        true
    }

    /// Remembers what is durable.
    pub(crate) fn enter(&self, introduction: Introduction) {
        let mut agents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        agents
            .entry(introduction.agent)
            .or_default()
            .insert(introduction.place, introduction.row);
    }
}

impl Introduction {
    fn of(action: &Action, place: String, callee: Option<Callee>, asks: bool) -> Self {
        let context = &*action.context;
        Self {
            agent: context.agent.clone(),
            place,
            row: Row {
                format: 1,
                component: context.component,
                permissions: lines(&context.manifest),
                callee,
                time_ms: now_ms(),
            },
            asks,
        }
    }

    /// Whether it takes a person's word, which a policy that lets the action pass is not.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// Adds to `commit` that it is remembered.
    pub(crate) fn put(&self, commit: &mut Commit) -> Result<(), serde_json::Error> {
        let key = key(&self.agent, &self.place);
        commit.put(KNOWN, key, serde_json::to_vec(&self.row)?);
        Ok(())
    }
}

impl Gate {
    /// Adds to `commit` that a person has accepted every origin that a manifest names. To be entered
    /// with [`introduced`](Self::introduced) once it is durable.
    pub fn introduce(
        &self,
        commit: &mut Commit,
        agent: &AgentName,
        component: Digest,
        manifest: &Manifest,
    ) -> Introductions {
        let permissions = lines(manifest);
        let origins: BTreeSet<String> = manifest
            .permissions
            .iter()
            .filter_map(|permission| match permission {
                Permission::Http(http) => Some(format!("http {}", http.origin)),
                _ => None,
            })
            .collect();
        let all = origins.into_iter().map(|place| Introduction {
            agent: agent.clone(),
            place,
            row: Row {
                format: 1,
                component,
                permissions: permissions.clone(),
                callee: None,
                time_ms: now_ms(),
            },
            asks: true,
        });
        // What can't be written is asked about later.
        Introductions(all.filter(|one| one.put(commit).is_ok()).collect())
    }

    /// Enters what [`introduce`](Self::introduce) has added to a commit that is durable now.
    pub fn introduced(&self, introductions: Introductions) {
        for introduction in introductions.0 {
            self.inner.known.enter(introduction);
        }
    }

    /// Adds to `commit` that an agent is no more: one that takes its name later is a stranger. To be
    /// followed by [`forgotten`](Self::forgotten) once it is durable.
    pub fn forget(&self, commit: &mut Commit, agent: &AgentName) {
        let agents = self.inner.known.0.read();
        let agents = agents.unwrap_or_else(PoisonError::into_inner);
        for place in agents.get(agent).into_iter().flat_map(HashMap::keys) {
            commit.delete(KNOWN, key(agent, place));
        }
        self.void_grants(commit, agent, "its agent was removed");
    }

    /// Forgets what [`forget`](Self::forget) has removed.
    pub fn forgotten(&self, agent: &AgentName) {
        let agents = self.inner.known.0.write();
        agents.unwrap_or_else(PoisonError::into_inner).remove(agent);
        self.grants_voided(agent);
    }
}

/// What a manifest asks for, one line each.
fn lines(manifest: &Manifest) -> BTreeSet<String> {
    let permissions = manifest.permissions.iter();
    permissions.map(ToString::to_string).collect()
}

fn callee(action: &Action) -> Option<Callee> {
    Callee::deserialize(action.payload.fields.get(CALLEE)?).ok()
}

/// What stands before the path of an http target.
fn origin(target: &str) -> &str {
    let authority = target.find("://").map_or(0, |scheme| scheme + 3);
    let path = target[authority..].find('/');
    path.map_or(target, |path| &target[..authority + path])
}

/// Names have no zero byte.
fn key(agent: &AgentName, place: &str) -> Vec<u8> {
    format!("{agent}\0{place}").into_bytes()
}

fn split(key: &str) -> Option<(AgentName, String)> {
    let (agent, place) = key.split_once('\0')?;
    Some((agent.parse().ok()?, place.to_owned()))
}
