//! Questions to people: their life, and who answered what.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use nexus_manifest::{AgentName, Digest};
use serde::{Deserialize, Serialize};

use crate::standing;
use crate::{
    ActionKind, ApprovalId, EffectClass, InvocationId, Label, Payload, PolicyVersion, Principal,
    RootOrigin, Scope, Vote,
};

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// A person is being asked.
    Pending,
    /// It waits for its turn: as many of the agent's questions as may be shown at a time already are.
    Queued,
    /// Enough people said yes; the effect has not started.
    Approved,
    /// A person said no.
    Denied,
    /// Nobody answered in time, or what was approved was not used in time.
    Expired,
    /// Withdrawn: by the invocation's end, by a person, or by a restart.
    Cancelled,
    /// The effect that it was for has started. Never again.
    Consumed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Queued,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Consumed,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Queued => "QUEUED",
            Self::Approved => "APPROVED",
            Self::Denied => "DENIED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::Consumed => "CONSUMED",
        }
    }

    /// Whether an effect may still come of it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Queued | Self::Approved)
    }

    /// Whether it can still be decided.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Queued)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the state of an approval")]
pub struct StateError(String);

impl FromStr for State {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StateError(text.chars().take(100).collect()))
    }
}

/// One question to people, about one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The digest of the action: a decision holds for nothing else.
    pub digest: Digest,
    /// The policy version under which it was asked, part of the digest.
    pub policy: PolicyVersion,
    /// What kind of action it is.
    pub kind: ActionKind,
    /// The agent that wants it.
    pub agent: AgentName,
    /// The component the agent runs from.
    pub component: Digest,
    /// On whose behalf.
    pub principal: Principal,
    /// In which invocation.
    pub invocation: InvocationId,
    /// By which of its host calls.
    pub sequence: u64,
    /// Where the first call of the chain came from.
    pub root: RootOrigin,
    /// The agents between that origin and this one.
    pub chain: Vec<AgentName>,
    /// The capability.
    pub capability: String,
    /// The verb.
    pub verb: String,
    /// What it is done to.
    pub target: String,
    /// How far it reaches.
    pub class: EffectClass,
    /// What is known of the data behind it.
    pub labels: BTreeSet<Label>,
    /// The policies that decided to ask.
    pub policies: Vec<String>,
    /// How many different people must say yes.
    pub required: u32,
    /// The complete action, for reading: nothing is cut.
    pub rendering: String,
    /// What may be remembered of it, the narrowest first.
    pub suggestions: Vec<Scope>,
    /// When it was asked, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it expires.
    pub deadline_ms: u64,
    /// Where it stands.
    pub state: State,
    /// The question in whose place a person put this one.
    pub edited_from: Option<ApprovalId>,
    /// What the action carries, as it would be sent.
    pub payload: Payload,
    /// Who said what, in order.
    pub decisions: Vec<Vote>,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
}

impl Approval {
    /// Why no standing yes may come of it, if none may.
    pub fn never_remembered(&self) -> Option<&'static str> {
        standing::never_allowed(self.class, self.required, &self.labels)
    }
}

/// Which approvals to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this agent.
    pub agent: Option<AgentName>,
}

/// Where a listing goes on, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The last approval of the page before.
    pub after: Option<ApprovalId>,
    /// At most so many.
    pub limit: usize,
    /// The newest ones come first.
    pub newest_first: bool,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: None,
            limit: 100,
            newest_first: false,
        }
    }
}
