//! Standing grants: a person's word that holds for more than one action, and never for much more.

mod hold;
mod ledger;
mod rows;
mod scope;
mod suggest;

use nexus_manifest::AgentName;

use crate::{ApprovalId, EffectClass, GrantId, Label, Principal, Verdict};

pub(crate) use ledger::{Found, Ledger, Ticket};
pub(crate) use rows::{GRANTS, GrantRow, key, load};
pub(crate) use scope::parts_digest;
pub use scope::{BodyScope, Scope, TargetScope};
pub(crate) use suggest::suggest;

/// How long a standing grant holds unless the person says otherwise: a week.
pub const DEFAULT_GRANT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How long one holds at most: a quarter of a year.
pub const MAX_GRANT_MS: u64 = 92 * 24 * 60 * 60 * 1000;
/// How often one is used unless the person says otherwise.
pub const DEFAULT_GRANT_USES: u32 = 100;
/// How often one is used at most.
pub const MAX_GRANT_USES: u32 = 10_000;

/// A standing grant, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingGrant {
    /// Its id.
    pub id: GrantId,
    /// Whether it answers yes or no.
    pub verdict: Verdict,
    /// Which actions it answers.
    pub scope: Scope,
    /// Who gave it.
    pub principal: Principal,
    /// With which decision.
    pub approval: ApprovalId,
    /// Why, in the giver's words.
    pub reason: Option<String>,
    /// When, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it ends by itself.
    pub expires_ms: u64,
    /// How often it has answered.
    pub uses: u32,
    /// How often it still may.
    pub uses_left: u32,
}

/// That a decision is to hold for later actions, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remember {
    /// Which of the approval's suggestions, the first being 1.
    pub suggestion: usize,
    /// Whether it goes on holding when the agent's component is replaced by one that asks for nothing
    /// more.
    pub any_component: bool,
    /// For how long; a week if absent.
    pub lifetime_ms: Option<u64>,
    /// For how many actions; a hundred if absent.
    pub uses: Option<u32>,
}

/// Which standing grants to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Only those of this agent.
    pub agent: Option<AgentName>,
}

/// Why no standing yes covers such an action, if none may: what is irreversible, what two people are
/// needed for, and data that must not leave after data that may carry instructions.
pub(crate) fn never_allowed(
    class: EffectClass,
    required: u32,
    labels: &std::collections::BTreeSet<Label>,
) -> Option<&'static str> {
    let guarded = labels
        .iter()
        .any(|label| matches!(label, Label::Private | Label::Secret(_)));
    if class == EffectClass::Irreversible {
        Some("what cannot be taken back is asked about each time")
    } else if required > 1 {
        Some("what needs more than one person is asked about each time")
    } else if guarded && labels.contains(&Label::Untrusted) {
        Some("private data after data from outside is asked about each time")
    } else {
        None
    }
}
