//! Why something did not happen, per operation.

use nexus_manifest::Digest;
use nexus_store::Table;

use crate::{Approval, ApprovalId, GrantId, Principal};

/// Why an action got no permit. Nothing of it has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A person said no.
    #[error("a person said no{}", .0.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Denied(Option<String>),
    /// The manifest, the deny floor or the policy rules it out; nobody was asked.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    Expired,
    /// A person would have to be asked, and nobody is there.
    #[error("a person would have to be asked, and this invocation has none")]
    Unattended,
    /// The action is malformed, or too large to be shown to a person.
    #[error("{0}")]
    Invalid(String),
    /// A person would have to be asked, and the agent has asked too much already.
    #[error("{0}")]
    Crowded(String),
    /// The record of it could not be written.
    #[error("the gate can't record: {0}")]
    Unavailable(String),
    /// The question was withdrawn.
    #[error("the question was withdrawn")]
    Cancelled,
}

/// Why a permit did not start its effect. Nothing of it has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// What is about to be sent is not what was permitted.
    #[error("the payload is not the one that was permitted")]
    Changed {
        /// The digest that was permitted.
        permitted: Digest,
    },
    /// The policy has changed since the action was permitted.
    #[error("the policy has changed since the action was permitted")]
    PolicyChanged,
    /// The deny floor rules it out now.
    #[error("{0}")]
    Forbidden(String),
    /// The approval was not used in time.
    #[error("the approval was not used in time")]
    Expired,
    /// Somebody on whose word it rests may no longer decide.
    #[error("{0} approved it and may no longer decide")]
    ApproverGone(Principal),
    /// The standing grant that it rests on holds no more.
    #[error("the standing grant {0} holds no more")]
    GrantGone(GrantId),
    /// The approval is used up or withdrawn, or the permit is spent.
    #[error("the approval is used up or was withdrawn")]
    Spent,
    /// The effect's own expectations did not hold: the store is not what the effect was computed from.
    /// The permit holds still.
    #[error("the entry in table {table} is not what the effect expected")]
    Conflict {
        /// The table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// A write was asked of a permit in a way that only reads have.
    #[error("only a read can be answered with a note")]
    NotARead,
    /// The effect's commit is larger than the store takes.
    #[error("the commit is too large: {0}")]
    TooLarge(String),
    /// The record of it could not be written.
    #[error("the gate can't record: {0}")]
    Unavailable(String),
}

/// Why the end of an effect was not recorded. The effect has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the end of the effect could not be recorded: {0}")]
pub struct FinishError(pub(crate) String);

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no such approval.
    #[error("there is no approval {0}")]
    NotFound(ApprovalId),
    /// Somebody, perhaps the same person, has already decided otherwise.
    #[error("the approval {} is already decided: it is {}", .0.id, .0.state)]
    AlreadyDecided(Box<Approval>),
    /// It can't be decided any more: it is expired or cancelled.
    #[error("the approval {} can't be decided any more: it is {}", .0.id, .0.state)]
    Closed(Box<Approval>),
    /// What the decider saw is not what would happen.
    #[error("the approval has the digest {actual}; decide what you have seen")]
    DigestMismatch {
        /// The approval's digest.
        actual: Digest,
    },
    /// The one who started the invocation may not approve it.
    #[error("who started an invocation may not approve its actions")]
    SelfApproval {
        /// Whether anybody else may decide approvals.
        others: bool,
    },
    /// The principal may not decide, or no longer.
    #[error("{0} may not decide approvals")]
    NotAnApprover(Principal),
    /// The edited action does not pass; the question is open as before.
    #[error("the edited action is not accepted: {0}")]
    EditRefused(String),
    /// The decision can't be remembered.
    #[error("the decision can't be remembered: {0}")]
    NotRemembered(String),
    /// The decision could not be recorded.
    #[error("the decision could not be recorded: {0}")]
    Unavailable(String),
}

/// Why a standing grant was not withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// There is no such grant.
    #[error("there is no standing grant {0}")]
    NotFound(GrantId),
    /// The withdrawal could not be recorded. In this process the grant holds no more all the same.
    #[error("the withdrawal could not be recorded: {0}")]
    Unavailable(String),
}

/// Why an approval could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("approvals can't be read: {0}")]
pub struct QueryError(pub(crate) String);

/// Why a gate did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// What the last run left waiting could not be cancelled.
    #[error("approvals left by the last run could not be settled: {0}")]
    Leftovers(String),
    /// The standing grants can't be read.
    #[error("the standing grants can't be read: {0}")]
    Grants(String),
    /// What is known of where agents have been can't be read.
    #[error("the places that agents are known at can't be read: {0}")]
    Known(String),
    /// The policy that was in force could not be brought back.
    #[error(
        "the policy that was in force can't be used: {0}; name a file with `[approvals] policy` to start with that one"
    )]
    Policy(String),
}

/// Why another policy did not come into force. The old one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetPolicyError {
    /// The policy in force is a file's, which is the one place to change it.
    #[error("the policy in force comes from the file that the configuration names")]
    FromFile,
    /// The policy in force is not the one that was to be replaced.
    #[error("the policy in force is revision {revision}")]
    Stale {
        /// The revision in force.
        revision: u64,
    },
    /// The change could not be recorded.
    #[error("the change of policy could not be recorded: {0}")]
    Unavailable(String),
}
