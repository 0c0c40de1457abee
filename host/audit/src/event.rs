//! What an event says.

use std::fmt;
use std::str::FromStr;

use nexus_manifest::{AgentName, Digest};
use nexus_store::now_ms;
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $name:literal,)*) => {
        /// What happened. The names are part of the format on disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[EventKind] = &[$(EventKind::$kind,)*];

            /// The name on disk and on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// The host opened its data directory.
    HostStarted => "host_started",
    /// The host is about to close its data directory.
    HostStopped => "host_stopped",
    /// The gate let an action pass.
    ActionPermitted => "action_permitted",
    /// The gate did not let an action pass.
    ActionRefused => "action_refused",
    /// An action waits for people.
    ApprovalRequested => "approval_requested",
    /// A person decided.
    ApprovalDecided => "approval_decided",
    /// Nobody decided in time.
    ApprovalExpired => "approval_expired",
    /// What was to be decided is no longer wanted.
    ApprovalCancelled => "approval_cancelled",
    /// A person's word began to hold for later actions, too.
    GrantCreated => "grant_created",
    /// It holds no more.
    GrantDeleted => "grant_deleted",
    /// An effect is about to begin. Durable before it does.
    EffectStarted => "effect_started",
    /// An effect ended, well or not.
    EffectFinished => "effect_finished",
    /// Whether an effect happened is not known.
    EffectUnknown => "effect_unknown",
    /// A generation of an agent became the current one.
    GenerationPublished => "generation_published",
    /// An earlier generation became the current one again.
    GenerationRolledBack => "generation_rolled_back",
    /// An agent was removed.
    AgentDeleted => "agent_deleted",
    /// A secret got a value.
    SecretSet => "secret_set",
    /// A secret was removed.
    SecretDeleted => "secret_deleted",
    /// What the vault holds was compared with the trail and recorded anew.
    VaultAnchored => "vault_anchored",
    /// The vault's master key was replaced.
    MasterKeyRotated => "master_key_rotated",
    /// The vault's recovery copy was told to somebody.
    RecoveryCopied => "recovery_copied",
    /// Another policy came into force.
    PolicySet => "policy_set",
    /// A policy was handed in and refused; the one in force stays.
    PolicyRefused => "policy_refused",
    /// An access token was made.
    TokenCreated => "token_created",
    /// An access token was withdrawn.
    TokenRevoked => "token_revoked",
    /// Hot reload was switched on or off.
    HotReloadSet => "hot_reload_set",
    /// The emergency lock was engaged: no agent does anything any more.
    LockEngaged => "lock_engaged",
    /// The emergency lock was lifted.
    LockReleased => "lock_released",
    /// A forge ended, with an agent or without.
    ForgeFinished => "forge_finished",
    /// The head of the trail was signed.
    Checkpoint => "checkpoint",
    /// The oldest records were let go of.
    TrailPruned => "trail_pruned",
    /// A client asked for a change.
    RequestReceived => "request_received",
}

/// A text that names no event kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of event")]
pub struct UnknownKind(String);

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        EventKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownKind(name.chars().take(100).collect()))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of the trail: who did what, to what, by which rule. Never a secret and never a body;
/// those appear as digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970. Order is given by the sequence in the trail, not by this.
    pub time_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// Which component the agent was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Digest>,
    /// Which invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// Which of its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The digest of the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Digest>,
    /// Which approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The policies that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// How it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What else belongs to this kind.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

impl Event {
    /// An event that happens now.
    pub fn new(kind: EventKind) -> Self {
        Self {
            time_ms: now_ms(),
            kind,
            principal: None,
            agent: None,
            component: None,
            invocation: None,
            sequence: None,
            action: None,
            approval: None,
            policies: Vec::new(),
            outcome: None,
            detail: serde_json::Value::Null,
        }
    }

    /// On whose behalf.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Which agent.
    #[must_use]
    pub fn agent(mut self, agent: AgentName) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Which component the agent was.
    #[must_use]
    pub fn component(mut self, component: Digest) -> Self {
        self.component = Some(component);
        self
    }

    /// Which invocation.
    #[must_use]
    pub fn invocation(mut self, invocation: impl Into<String>) -> Self {
        self.invocation = Some(invocation.into());
        self
    }

    /// Which of the invocation's calls.
    #[must_use]
    pub fn sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// The digest of the action.
    #[must_use]
    pub fn action(mut self, action: Digest) -> Self {
        self.action = Some(action);
        self
    }

    /// Which approval.
    #[must_use]
    pub fn approval(mut self, approval: impl Into<String>) -> Self {
        self.approval = Some(approval.into());
        self
    }

    /// The policies that decided.
    #[must_use]
    pub fn policies(mut self, policies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.policies = policies.into_iter().map(Into::into).collect();
        self
    }

    /// How it went.
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = Some(outcome.into());
        self
    }

    /// What else belongs to this kind of event.
    #[must_use]
    pub fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }

    /// The record of this event: JSON, fields in the order of declaration, absent ones left out.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an event is plain data, which always has a JSON form")
    }

    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }
}
