//! Roles and the methods that each may call.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the host: everything.
    Operator,
    /// Decides approvals and sees what led to them.
    Approver,
    /// Creates agents and calls them; decides nothing.
    Forger,
    /// Calls agents.
    Caller,
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role: use operator, approver, forger or caller")]
pub struct UnknownRole(String);

impl Role {
    /// Whether tokens of this role decide approvals, and so see everything that leads to them.
    pub fn decides(self) -> bool {
        matches!(self, Self::Operator | Self::Approver)
    }

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Forger => "forger",
            Self::Caller => "caller",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Operator, Self::Approver, Self::Forger, Self::Caller]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(40).collect()))
    }
}

use Role::{Approver, Caller, Forger, Operator};

const ALL: &[Role] = &[Operator, Approver, Forger, Caller];
const OPERATE: &[Role] = &[Operator];
const DECIDE: &[Role] = &[Operator, Approver];
const FORGE: &[Role] = &[Operator, Forger];
const CALL: &[Role] = &[Operator, Forger, Caller];

/// Every method and the roles that may call it.
pub const MATRIX: &[(&str, &[Role])] = &[
    ("/nexus.v1.AgentService/DeployAgent", FORGE),
    ("/nexus.v1.AgentService/AcceptAgent", DECIDE),
    ("/nexus.v1.AgentService/GetAgent", ALL),
    ("/nexus.v1.AgentService/ListAgents", ALL),
    ("/nexus.v1.AgentService/DeleteAgent", FORGE),
    ("/nexus.v1.AgentService/ListGenerations", ALL),
    ("/nexus.v1.AgentService/DiffGenerations", ALL),
    ("/nexus.v1.AgentService/RollbackAgent", FORGE),
    ("/nexus.v1.AgentService/WatchAgents", ALL),
    ("/nexus.v1.InvocationService/InvokeAgent", CALL),
    ("/nexus.v1.InvocationService/StartInvocation", CALL),
    ("/nexus.v1.InvocationService/GetInvocation", ALL),
    ("/nexus.v1.InvocationService/ListInvocations", ALL),
    ("/nexus.v1.InvocationService/WatchInvocation", ALL),
    ("/nexus.v1.InvocationService/WatchInvocations", ALL),
    ("/nexus.v1.InvocationService/CancelInvocation", ALL),
    ("/nexus.v1.ApprovalService/ListApprovals", DECIDE),
    ("/nexus.v1.ApprovalService/GetApproval", DECIDE),
    ("/nexus.v1.ApprovalService/WatchApprovals", DECIDE),
    ("/nexus.v1.ApprovalService/DecideApproval", DECIDE),
    ("/nexus.v1.ApprovalService/ListGrants", DECIDE),
    ("/nexus.v1.ApprovalService/DeleteGrant", DECIDE),
    ("/nexus.v1.ForgeService/ForgeAgent", FORGE),
    ("/nexus.v1.ForgeService/EnsureAgent", FORGE),
    ("/nexus.v1.ForgeService/GetForge", FORGE),
    ("/nexus.v1.ForgeService/ListForges", FORGE),
    ("/nexus.v1.ForgeService/WatchForge", FORGE),
    ("/nexus.v1.ForgeService/CancelForge", FORGE),
    ("/nexus.v1.ForgeService/GetHotReload", FORGE),
    ("/nexus.v1.ForgeService/SetHotReload", OPERATE),
    ("/nexus.v1.ForgeService/TriggerHotReload", OPERATE),
    ("/nexus.v1.ForgeService/ListForgedAgents", FORGE),
    ("/nexus.v1.BuildService/BuildComponent", FORGE),
    ("/nexus.v1.VaultService/SetSecret", OPERATE),
    ("/nexus.v1.VaultService/ListSecrets", OPERATE),
    ("/nexus.v1.VaultService/DeleteSecret", OPERATE),
    ("/nexus.v1.VaultService/RotateMasterKey", OPERATE),
    ("/nexus.v1.MemoryService/GetEntry", OPERATE),
    ("/nexus.v1.MemoryService/PutEntry", OPERATE),
    ("/nexus.v1.MemoryService/DeleteEntry", OPERATE),
    ("/nexus.v1.MemoryService/ListEntries", OPERATE),
    ("/nexus.v1.PolicyService/GetPolicy", DECIDE),
    ("/nexus.v1.PolicyService/SetPolicy", OPERATE),
    ("/nexus.v1.PolicyService/ExplainAction", DECIDE),
    ("/nexus.v1.AuditService/ListEvents", DECIDE),
    ("/nexus.v1.AuditService/WatchEvents", DECIDE),
    ("/nexus.v1.AuditService/GetCheckpoint", DECIDE),
    ("/nexus.v1.SystemService/GetStatus", ALL),
    ("/nexus.v1.SystemService/EngageLock", DECIDE),
    ("/nexus.v1.SystemService/ReleaseLock", OPERATE),
    ("/nexus.v1.SystemService/CreateToken", OPERATE),
    ("/nexus.v1.SystemService/ListTokens", OPERATE),
    ("/nexus.v1.SystemService/RevokeToken", OPERATE),
];

/// The roles that may call the method at `path`; nobody may call what is not listed.
pub fn roles_of(path: &str) -> &'static [Role] {
    // The hottest method first: a scan of a few dozen pointers is cheaper than hashing the path.
    const INVOKE: &str = "/nexus.v1.InvocationService/InvokeAgent";
    if path == INVOKE {
        return CALL;
    }
    MATRIX
        .iter()
        .find(|(method, _)| *method == path)
        .map_or(&[], |(_, roles)| roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortcut_agrees_with_the_matrix() {
        for (method, roles) in MATRIX {
            assert_eq!(roles_of(method), *roles, "{method}");
        }
        assert!(roles_of("/nexus.v1.AgentService/Missing").is_empty());
    }
}
