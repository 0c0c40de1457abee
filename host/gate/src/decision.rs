//! A person's word.

use serde::{Deserialize, Serialize};

use crate::{Edit, Edited, GrantId, Principal, Remember};

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes: exactly this action, once.
    Approve,
    /// No; one is enough.
    Deny,
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why, in their words: kept and audited. The agent is told the reason of a no.
    pub reason: Option<String>,
    /// At most so many other open questions of the agent that ask for the very same are decided alike,
    /// each on its own record.
    pub identical: usize,
    /// What is to happen in the place of what was asked. Only with a yes.
    pub edit: Option<Edit>,
    /// Whether it holds for later actions, too.
    pub remember: Option<Remember>,
}

/// What a person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub principal: Principal,
    /// Whether they said yes.
    pub approved: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What they put in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// The standing grant that was given with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
}

impl Verdict {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

impl Decision {
    /// The same decision for this reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// A yes to something else.
    pub fn edited(edit: Edit) -> Self {
        Self {
            edit: Some(edit),
            ..Verdict::Approve.into()
        }
    }

    /// The same decision for later actions, too.
    #[must_use]
    pub fn remembered(mut self, remember: Remember) -> Self {
        self.remember = Some(remember);
        self
    }
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            reason: None,
            identical: 0,
            edit: None,
            remember: None,
        }
    }
}
