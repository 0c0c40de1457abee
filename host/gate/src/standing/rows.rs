//! Standing grants at rest: what may lie open in one table, what may be private sealed in another.

use nexus_manifest::AgentName;
use nexus_store::{Commit, Scan, Store, Table};
use nexus_vault::Vault;
use serde::{Deserialize, Serialize};

use super::{Scope, StandingGrant};
use crate::errors::QueryError;
use crate::{ApprovalId, GrantId, Principal, Verdict};

/// Id to row.
pub(crate) const GRANTS: Table = Table("standing_grants");
/// Id to the sealed scope.
const SCOPES: Table = Table("standing_grant_scopes");
/// Rows read at a time.
const BATCH: usize = 256;

/// What of a standing grant may lie open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GrantRow {
    format: u8,
    pub(crate) id: GrantId,
    pub(crate) agent: AgentName,
    pub(crate) verdict: Verdict,
    pub(crate) principal: Principal,
    pub(crate) approval: ApprovalId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) uses: u32,
    pub(crate) uses_left: u32,
}

/// A row together with the bytes it was read from.
pub(crate) struct StoredGrant {
    pub(crate) row: GrantRow,
    bytes: Vec<u8>,
}

impl GrantRow {
    pub(crate) fn with(self, scope: Scope) -> StandingGrant {
        StandingGrant {
            id: self.id,
            verdict: self.verdict,
            scope,
            principal: self.principal,
            approval: self.approval,
            reason: self.reason,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            uses: self.uses,
            uses_left: self.uses_left,
        }
    }

    fn encode(&self) -> Result<Vec<u8>, QueryError> {
        serde_json::to_vec(self).map_err(|error| QueryError(error.to_string()))
    }
}

impl StoredGrant {
    /// Adds to `commit` that one more use is counted; with the last one it is no more.
    pub(crate) fn spend(&self, commit: &mut Commit) -> Result<(), QueryError> {
        let mut next = self.row.clone();
        next.uses = next.uses.saturating_add(1);
        next.uses_left = next.uses_left.saturating_sub(1);
        if next.uses_left == 0 {
            self.remove(commit);
            return Ok(());
        }
        let key = key(self.row.id);
        commit.expect_value(GRANTS, &key, self.bytes.clone());
        commit.put(GRANTS, &key, next.encode()?);
        Ok(())
    }

    /// Adds to `commit` that it is no more.
    pub(crate) fn remove(&self, commit: &mut Commit) {
        let key = key(self.row.id);
        commit.expect_value(GRANTS, &key, self.bytes.clone());
        commit.delete(GRANTS, key.clone());
        commit.delete(SCOPES, key);
    }
}

/// Adds to `commit` that a grant is no more, however it stands.
pub(super) fn remove(id: GrantId, commit: &mut Commit) {
    commit.delete(GRANTS, key(id));
    commit.delete(SCOPES, key(id));
}

pub(crate) fn key(id: GrantId) -> Vec<u8> {
    id.to_string().into_bytes()
}

fn seal_context(id: GrantId, agent: &AgentName) -> String {
    format!("standing-grant/{id}/{agent}")
}

/// Adds a new grant to `commit`; gives back its row.
pub(crate) fn insert(
    vault: &Vault,
    grant: &StandingGrant,
    commit: &mut Commit,
) -> Result<GrantRow, QueryError> {
    let row = GrantRow {
        format: 1,
        id: grant.id,
        agent: grant.scope.agent.clone(),
        verdict: grant.verdict,
        principal: grant.principal.clone(),
        approval: grant.approval,
        reason: grant.reason.clone(),
        created_ms: grant.created_ms,
        expires_ms: grant.expires_ms,
        uses: grant.uses,
        uses_left: grant.uses_left,
    };
    let plain = serde_json::to_vec(&grant.scope).map_err(|error| QueryError(error.to_string()))?;
    let sealed = vault
        .seal(&seal_context(grant.id, &row.agent), &plain)
        .map_err(|error| QueryError(error.to_string()))?;
    let key = key(grant.id);
    commit.expect_absent(GRANTS, &key);
    commit.put(GRANTS, &key, row.encode()?);
    commit.put(SCOPES, &key, sealed);
    Ok(row)
}

/// Reads one row.
pub(crate) async fn load(
    store: &dyn Store,
    id: GrantId,
) -> Result<Option<StoredGrant>, QueryError> {
    let found = store.get(GRANTS, &key(id)).await;
    let Some(bytes) = found.map_err(|error| QueryError(error.to_string()))? else {
        return Ok(None);
    };
    let row = serde_json::from_slice(&bytes).map_err(|error| QueryError(error.to_string()))?;
    Ok(Some(StoredGrant { row, bytes }))
}

/// Every grant that reads. One that does not answers nothing: its actions are asked about.
pub(super) async fn all(
    store: &dyn Store,
    vault: &Vault,
) -> Result<Vec<(GrantRow, Scope)>, QueryError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let scan = Scan {
            after,
            limit: BATCH,
            ..Scan::default()
        };
        let rows = store.scan(GRANTS, scan).await;
        let rows = rows.map_err(|error| QueryError(error.to_string()))?;
        let Some((last, _)) = rows.last() else {
            return Ok(found);
        };
        after = Some(last.clone());
        for (key, bytes) in rows {
            match read(store, vault, &key, &bytes).await {
                Ok(grant) => found.push(grant),
                Err(error) => tracing::error!(
                    %error,
                    grant = %String::from_utf8_lossy(&key),
                    "a standing grant does not read; what it covers is asked about"
                ),
            }
        }
    }
}

async fn read(
    store: &dyn Store,
    vault: &Vault,
    key: &[u8],
    bytes: &[u8],
) -> Result<(GrantRow, Scope), QueryError> {
    let wrong = |error: &dyn std::fmt::Display| QueryError(error.to_string());
    let row: GrantRow = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    let sealed = store
        .get(SCOPES, key)
        .await
        .map_err(|error| wrong(&error))?;
    let sealed = sealed.ok_or_else(|| wrong(&"its scope is missing"))?;
    let plain = vault
        .unseal(&seal_context(row.id, &row.agent), &sealed)
        .map_err(|error| wrong(&error))?;
    let scope: Scope = serde_json::from_slice(&plain).map_err(|error| wrong(&error))?;
    // The open row names the agent for listings; the sealed scope is what counts.
    if scope.agent != row.agent || super::key(row.id) != key {
        return Err(wrong(&"its row and its scope are not of one grant"));
    }
    Ok((row, scope))
}
