//! Approvals at rest: rows, indexes, and the sealed part that only the vault's key opens.

use std::collections::BTreeSet;

use nexus_manifest::{AgentName, Digest};
use nexus_store::{Commit, CommitError, ReadError, Scan, Store, Table};
use nexus_vault::Vault;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::{Approval, Filter, Page, State};
use crate::errors::QueryError;
use crate::payload::Part;
use crate::{
    ActionKind, ApprovalId, EffectClass, InvocationId, Label, Payload, PolicyVersion, Principal,
    RootOrigin, Scope, Vote,
};

/// Id to row.
pub(crate) const APPROVALS: Table = Table("approvals");
/// Id to the sealed part: written once, never rewritten.
const SEALED: Table = Table("approval_payloads");
/// `STATE/id`.
const BY_STATE: Table = Table("approvals_by_state");
/// `agent/id`.
const BY_AGENT: Table = Table("approvals_by_agent");

/// Rows read at a time while filtering.
const BATCH: usize = 256;

/// What of an approval may lie open: ids, names, states, times.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    format: u8,
    pub(crate) id: ApprovalId,
    pub(crate) digest: Digest,
    pub(crate) policy: PolicyVersion,
    pub(crate) kind: ActionKind,
    pub(crate) agent: AgentName,
    pub(crate) component: Digest,
    pub(crate) principal: Principal,
    pub(crate) invocation: InvocationId,
    pub(crate) sequence: u64,
    pub(crate) root: RootOrigin,
    pub(crate) chain: Vec<AgentName>,
    pub(crate) capability: String,
    pub(crate) verb: String,
    pub(crate) class: EffectClass,
    pub(crate) labels: BTreeSet<Label>,
    pub(crate) policies: Vec<String>,
    pub(crate) required: u32,
    pub(crate) created_ms: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) state: State,
    pub(crate) decisions: Vec<Vote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edited_from: Option<ApprovalId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cancel_reason: Option<String>,
}

/// What may hold private data.
#[derive(Serialize, Deserialize)]
struct Contents {
    target: String,
    rendering: String,
    canonical: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suggestions: Vec<Scope>,
    fields: Value,
    parts: Vec<SealedPart>,
}

/// Bytes, as text that JSON can hold.
#[derive(Serialize, Deserialize)]
struct SealedPart {
    name: String,
    media_type: String,
    hex: String,
}

impl SealedPart {
    fn of(part: &Part) -> Self {
        Self {
            name: part.name.clone(),
            media_type: part.media_type.clone(),
            hex: hex::encode(&part.bytes),
        }
    }
}

impl Row {
    pub(crate) fn of(approval: &Approval) -> Self {
        let Approval {
            kind,
            root,
            class,
            required,
            created_ms,
            deadline_ms,
            state,
            ..
        } = *approval;
        let approval = approval.clone();
        Self {
            format: 1,
            id: approval.id,
            digest: approval.digest,
            policy: approval.policy,
            kind,
            agent: approval.agent,
            component: approval.component,
            principal: approval.principal,
            invocation: approval.invocation,
            sequence: approval.sequence,
            root,
            chain: approval.chain,
            capability: approval.capability,
            verb: approval.verb,
            class,
            labels: approval.labels,
            policies: approval.policies,
            required,
            created_ms,
            deadline_ms,
            state,
            decisions: approval.decisions,
            edited_from: approval.edited_from,
            cancel_reason: approval.cancel_reason,
        }
    }

    fn with(self, contents: Contents) -> Result<Approval, QueryError> {
        let mut payload = Payload::new(contents.fields);
        for part in contents.parts {
            let bytes = hex::decode(&part.hex).map_err(|error| QueryError(error.to_string()))?;
            payload = payload.with_part(part.name, part.media_type, bytes);
        }
        Ok(Approval {
            id: self.id,
            digest: self.digest,
            policy: self.policy,
            kind: self.kind,
            agent: self.agent,
            component: self.component,
            principal: self.principal,
            invocation: self.invocation,
            sequence: self.sequence,
            root: self.root,
            chain: self.chain,
            capability: self.capability,
            verb: self.verb,
            target: contents.target,
            class: self.class,
            labels: self.labels,
            policies: self.policies,
            required: self.required,
            rendering: contents.rendering,
            suggestions: contents.suggestions,
            created_ms: self.created_ms,
            deadline_ms: self.deadline_ms,
            state: self.state,
            edited_from: self.edited_from,
            payload,
            decisions: self.decisions,
            cancel_reason: self.cancel_reason,
        })
    }

    fn encode(&self) -> Result<Vec<u8>, QueryError> {
        serde_json::to_vec(self).map_err(|error| QueryError(error.to_string()))
    }
}

/// A row together with the bytes it was read from, for the expectation that it is still so.
pub(crate) struct Stored {
    pub(crate) row: Row,
    bytes: Vec<u8>,
}

impl Stored {
    /// Adds to `commit` that this row, unchanged until then, becomes `next`.
    pub(crate) fn replace(&self, next: &Row, commit: &mut Commit) -> Result<(), QueryError> {
        let key = key(self.row.id);
        commit.expect_value(APPROVALS, &key, self.bytes.clone());
        commit.put(APPROVALS, &key, next.encode()?);
        if self.row.state != next.state {
            commit.delete(BY_STATE, state_key(self.row.state, self.row.id));
            commit.put(BY_STATE, state_key(next.state, next.id), Vec::new());
        }
        Ok(())
    }
}

/// Whether the change to `next` is in the store although its commit was answered with `error`.
pub(crate) async fn landed(store: &dyn Store, error: &CommitError, next: &Row) -> bool {
    match next.encode() {
        Ok(row) => nexus_store::landed(store, error, APPROVALS, &key(next.id), Some(&row)).await,
        Err(_) => false,
    }
}

/// The key of an approval's row.
pub(crate) fn key(id: ApprovalId) -> Vec<u8> {
    id.to_string().into_bytes()
}

fn state_key(state: State, id: ApprovalId) -> Vec<u8> {
    format!("{state}/{id}").into_bytes()
}

/// What the sealed part is bound to, so that one approval's cannot stand in for another's.
fn seal_context(id: ApprovalId, digest: &Digest) -> String {
    format!("approval/{id}/{digest}")
}

/// Adds a new approval to `commit`.
pub(crate) fn insert(
    vault: &Vault,
    approval: &Approval,
    canonical: String,
    commit: &mut Commit,
) -> Result<(), QueryError> {
    let contents = Contents {
        target: approval.target.clone(),
        rendering: approval.rendering.clone(),
        canonical,
        suggestions: approval.suggestions.clone(),
        fields: approval.payload.fields.clone(),
        parts: approval.payload.parts.iter().map(SealedPart::of).collect(),
    };
    let plain = serde_json::to_vec(&contents).map_err(|error| QueryError(error.to_string()))?;
    let sealed = vault
        .seal(&seal_context(approval.id, &approval.digest), &plain)
        .map_err(|error| QueryError(error.to_string()))?;
    let key = key(approval.id);
    commit.expect_absent(APPROVALS, &key);
    commit.put(APPROVALS, &key, Row::of(approval).encode()?);
    commit.put(SEALED, &key, sealed);
    commit.put(BY_STATE, state_key(approval.state, approval.id), Vec::new());
    commit.put(
        BY_AGENT,
        format!("{}/{}", approval.agent, approval.id),
        Vec::new(),
    );
    Ok(())
}

/// Reads one row.
pub(crate) async fn load(store: &dyn Store, id: ApprovalId) -> Result<Option<Stored>, QueryError> {
    let Some(bytes) = store.get(APPROVALS, &key(id)).await.map_err(unreadable)? else {
        return Ok(None);
    };
    let row: Row = serde_json::from_slice(&bytes).map_err(|error| QueryError(error.to_string()))?;
    Ok(Some(Stored { row, bytes }))
}

/// Opens the sealed part of a row.
pub(crate) async fn open(
    store: &dyn Store,
    vault: &Vault,
    row: Row,
) -> Result<Approval, QueryError> {
    let sealed = store
        .get(SEALED, &key(row.id))
        .await
        .map_err(unreadable)?
        .ok_or_else(|| QueryError(format!("the contents of approval {} are missing", row.id)))?;
    let plain = vault
        .unseal(&seal_context(row.id, &row.digest), &sealed)
        .map_err(|error| QueryError(error.to_string()))?;
    let contents = serde_json::from_slice(&plain).map_err(|error| QueryError(error.to_string()))?;
    row.with(contents)
}

/// The rows that match, in the order that the page asks for.
pub(crate) async fn list(
    store: &dyn Store,
    filter: &Filter,
    page: &Page,
) -> Result<Vec<Stored>, QueryError> {
    let (table, prefix) = match (filter.state, &filter.agent) {
        (Some(state), _) => (BY_STATE, format!("{state}/")),
        (None, Some(agent)) => (BY_AGENT, format!("{agent}/")),
        (None, None) => (APPROVALS, String::new()),
    };
    let mut after = page.after.map(|id| format!("{prefix}{id}").into_bytes());
    let mut found = Vec::new();
    loop {
        let scan = Scan {
            prefix: prefix.clone().into_bytes(),
            after: after.clone(),
            limit: BATCH,
            reverse: page.newest_first,
        };
        let entries = store.scan(table, scan).await.map_err(unreadable)?;
        let last = entries.len() < BATCH;
        for (entry, _) in entries {
            let id = std::str::from_utf8(&entry[prefix.len()..])
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| QueryError(format!("a key of {table} is no approval's")))?;
            after = Some(entry);
            // An index may be ahead of this read; the row decides.
            let Some(stored) = load(store, id).await? else {
                continue;
            };
            let matches = filter.state.is_none_or(|state| state == stored.row.state)
                && filter
                    .agent
                    .as_ref()
                    .is_none_or(|agent| *agent == stored.row.agent);
            if matches {
                found.push(stored);
                if found.len() >= page.limit {
                    return Ok(found);
                }
            }
        }
        if last {
            return Ok(found);
        }
    }
}

/// Deletes what is over and whose deadline was before `cutoff_ms`; says how many.
pub(crate) async fn forget(store: &dyn Store, cutoff_ms: u64) -> Result<usize, QueryError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let scan = Scan {
            after,
            limit: BATCH,
            ..Scan::default()
        };
        let rows = store.scan(APPROVALS, scan).await.map_err(unreadable)?;
        let Some((last, _)) = rows.last() else {
            return Ok(count);
        };
        after = Some(last.clone());
        let mut commit = Commit::new();
        for (key, bytes) in &rows {
            let Ok(row) = serde_json::from_slice::<Row>(bytes) else {
                continue;
            };
            if row.state.is_live() || row.deadline_ms >= cutoff_ms {
                continue;
            }
            commit.expect_value(APPROVALS, key, bytes.clone());
            commit.delete(APPROVALS, key);
            commit.delete(SEALED, key);
            commit.delete(BY_STATE, state_key(row.state, row.id));
            commit.delete(BY_AGENT, format!("{}/{}", row.agent, row.id));
            count += 1;
        }
        if !commit.operations().is_empty() {
            let forgotten = store.commit(commit).await;
            forgotten.map_err(|error| QueryError(error.to_string()))?;
        }
    }
}

fn unreadable(error: ReadError) -> QueryError {
    QueryError(error.to_string())
}
