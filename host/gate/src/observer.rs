//! Who needs to know that an invocation waits for a person.

use nexus_store::Commit;

use crate::{Approval, Refusal};

/// Told when an action begins and ceases to wait for a person.
pub trait Observer: Send + Sync {
    /// Called once, before the question is written: what is added to `commit` is written with it, in
    /// one transaction. Whoever looks the approval up from here on finds it. The invocation's clocks
    /// stop here. Must not block.
    fn waiting(&self, commit: &mut Commit, approval: &Approval);

    /// Called once after `waiting`. What it gives back is dropped when the attempt to write the question
    /// is over, though the wait may have been dropped long before.
    fn writing(&self) -> Option<Box<dyn Send>> {
        None
    }

    /// Called once after `waiting`, when the question is on disk: who hears of it from now on finds it
    /// again even after a crash.
    fn asked(&self, _: crate::ApprovalId) {}

    /// Called once after `waiting`, when the question is over, whatever the answer. The clocks go on.
    /// Not called if the wait was dropped.
    fn resumed(&self);

    /// Called once if the action may not happen, with what its agent is told.
    fn refused(&self, _: &Refusal) {}
}

/// Nobody needs to know.
impl Observer for () {
    fn waiting(&self, _: &mut Commit, _: &Approval) {}

    fn resumed(&self) {}
}

/// What no policy and no person can lift, such as blocked networks. The emergency lock is asked before it.
pub trait Floor: Send + Sync + 'static {
    /// Whether the action may go on to policy; the error says why not. Asked when an action arrives
    /// and again when its effect starts. Must be quick: it stands in the way of every read.
    fn check(&self, action: &crate::Action) -> Result<(), String>;
}

/// Who may decide, at this moment. A word counts only while its speaker may still say it.
pub trait Approvers: Send + Sync + 'static {
    /// Whether this principal may decide approvals. Asked when a decision is taken and again when the
    /// effect starts.
    fn may_decide(&self, principal: &crate::Principal) -> bool;

    /// Whether anybody but this principal may decide approvals now.
    fn may_another(&self, principal: &crate::Principal) -> bool;
}

/// Whether the one who started an invocation may approve its actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SelfApproval {
    /// As long as nobody else may decide: a host of one person stays of use, and becomes one of four
    /// eyes with the second.
    #[default]
    Auto,
    /// Always.
    Allowed,
    /// Never.
    Refused,
}

/// Whoever was let in to decide may.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anyone;

impl Approvers for Anyone {
    fn may_decide(&self, _: &crate::Principal) -> bool {
        true
    }

    fn may_another(&self, _: &crate::Principal) -> bool {
        false
    }
}

/// A floor that lets everything through.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenFloor;

impl Floor for OpenFloor {
    fn check(&self, _: &crate::Action) -> Result<(), String> {
        Ok(())
    }
}
