//! Giving, using and withdrawing standing grants.

use std::sync::Arc;

use nexus_audit::{Event, EventKind};
use nexus_manifest::AgentName;
use nexus_store::{Commit, CommitError, now_ms};
use serde_json::json;

use super::rows::{self, GrantRow, StoredGrant};
use super::{
    DEFAULT_GRANT_MS, DEFAULT_GRANT_USES, Found, GrantFilter, MAX_GRANT_MS, MAX_GRANT_USES,
    Remember, Scope, StandingGrant, never_allowed,
};
use crate::approval::Approval;
use crate::errors::{DecideError, QueryError, Refusal, RevokeError};
use crate::gate::{Gate, Inner};
use crate::permit::Grant;
use crate::{Action, Decision, GrantId, Principal, Verdict};

impl Gate {
    /// The standing grants in force, oldest first.
    pub fn grants(&self, filter: &GrantFilter) -> Vec<StandingGrant> {
        self.inner.ledger().list(filter.agent.as_ref(), now_ms())
    }

    /// Withdraws a standing grant. Nothing that rests on it starts any more.
    pub async fn revoke_grant(
        &self,
        id: GrantId,
        principal: &Principal,
    ) -> Result<(), RevokeError> {
        let (gate, principal) = (self.inner.clone(), principal.clone());
        let revoked = self
            .inner
            .runtime
            .spawn(async move { gate.drop_grant(id, Some(principal), "revoked").await });
        match revoked.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(RevokeError::NotFound(id)),
            Ok(Err(error)) => Err(RevokeError::Unavailable(error.to_string())),
            Err(error) => Err(RevokeError::Unavailable(error.to_string())),
        }
    }
}

impl Gate {
    /// Adds to `commit` that no standing grant of this agent holds any longer: the agent is gone, or
    /// somebody else's. To be followed by [`grants_voided`](Self::grants_voided) once it is durable.
    pub fn void_grants(&self, commit: &mut Commit, agent: &AgentName, why: &str) {
        for row in self.inner.ledger().of(agent) {
            rows::remove(row.id, commit);
            let event = event_of(EventKind::GrantDeleted, &row).outcome(why);
            self.inner.audit.append(commit, event);
        }
    }

    /// Forgets what [`void_grants`](Self::void_grants) has removed, and what was given meanwhile.
    pub fn grants_voided(&self, agent: &AgentName) {
        let late = self.inner.ledger().of(agent).into_iter().map(|row| row.id);
        let late: Vec<GrantId> = late.collect();
        for id in &late {
            self.inner.ledger().remove(agent, *id);
        }
        let why = "its agent is gone or somebody else's";
        let late = late.into_iter().map(|id| (id, why)).collect();
        self.inner.withdraw_grants(late);
    }
}

impl Inner {
    /// What the standing grants say of an action that `required` people would be asked about.
    pub(crate) fn standing(&self, action: &Action, required: u32) -> Found {
        let may_decide = |giver: &Principal| self.approvers.may_decide(giver);
        self.ledger().find(action, required, now_ms(), may_decide)
    }

    /// Refuses in the name of a standing no, and counts its use. If it cannot be counted, the answer is
    /// still no.
    pub(crate) async fn deny_standing(self: &Arc<Self>, grant: &Grant, id: GrantId) -> Refusal {
        let mut reason = None;
        let counted = async {
            loop {
                let Some(stored) = rows::load(&*self.store, id).await? else {
                    return Ok(());
                };
                reason.clone_from(&stored.row.reason);
                let mut commit = Commit::new();
                stored.spend(&mut commit)?;
                match self.store.commit(commit).await {
                    Ok(_) => {
                        self.ledger().counted(&stored.row.agent, id, None);
                        return Ok(());
                    }
                    Err(CommitError::Conflict { .. }) => {}
                    Err(error) => return Err(QueryError(error.to_string())),
                }
            }
        };
        let counted: Result<(), QueryError> = counted.await;
        if let Err(error) = counted {
            return Refusal::Unavailable(error.to_string());
        }
        let refusal = Refusal::Denied(reason);
        let mut event = grant
            .event(EventKind::ActionRefused)
            .outcome(refusal.to_string());
        event.detail["grant"] = id.to_string().into();
        match self.audit.note(event) {
            Ok(()) => refusal,
            Err(error) => Refusal::Unavailable(error.to_string()),
        }
    }

    /// Withdraws grants that have become void. They answer nothing whether or not that is recorded.
    pub(crate) fn withdraw_grants(&self, void: Vec<(GrantId, &'static str)>) {
        for (id, why) in void {
            let Some(gate) = self.this.upgrade() else {
                return;
            };
            self.runtime.spawn(async move {
                if let Err(error) = gate.drop_grant(id, None, why).await {
                    tracing::warn!(%id, %error, "a void grant could not be withdrawn");
                }
            });
        }
    }

    /// Removes the grants whose time is over. They answer nothing in any case; here they leave the disk.
    pub(crate) async fn sweep_grants(&self) {
        let expired = self.ledger().expired(now_ms());
        for id in expired {
            if let Err(error) = self.drop_grant(id, None, "its time is over").await {
                tracing::warn!(%id, %error, "a grant whose time is over could not be removed");
            }
        }
    }

    async fn drop_grant(
        &self,
        id: GrantId,
        principal: Option<Principal>,
        why: &str,
    ) -> Result<bool, QueryError> {
        loop {
            let Some(stored) = rows::load(&*self.store, id).await? else {
                return Ok(false);
            };
            // First here: what starts from now on does not find it.
            self.ledger().remove(&stored.row.agent, id);
            let mut commit = Commit::new();
            stored.remove(&mut commit);
            let mut event = event_of(EventKind::GrantDeleted, &stored.row).outcome(why);
            if let Some(principal) = &principal {
                event = event.principal(principal.as_str());
            }
            self.audit.append(&mut commit, event);
            // Taking away goes through on a full disk.
            commit.urgent();
            match self.store.commit(commit).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(QueryError(error.to_string())),
            }
        }
    }

    /// Adds to `commit` the grant that a decision asks for; gives back what has to be entered once that
    /// is durable.
    pub(crate) fn remember(
        &self,
        approval: &Approval,
        decision: &Decision,
        remember: Remember,
        principal: &Principal,
        commit: &mut Commit,
    ) -> Result<(GrantRow, Arc<Scope>), DecideError> {
        let grant = standing_grant(approval, decision, remember, principal)?;
        let row = rows::insert(&self.vault, &grant, commit)
            .map_err(|error| DecideError::Unavailable(error.to_string()))?;
        let mut event = event_of(EventKind::GrantCreated, &row)
            .principal(principal.as_str())
            .approval(approval.id.to_string())
            .action(approval.digest)
            .outcome(decision.verdict.as_str());
        event.detail["expires_ms"] = row.expires_ms.into();
        event.detail["uses"] = row.uses_left.into();
        event.detail["any_component"] = remember.any_component.into();
        self.audit.append(commit, event);
        Ok((row, Arc::new(grant.scope)))
    }
}

fn standing_grant(
    approval: &Approval,
    decision: &Decision,
    remember: Remember,
    principal: &Principal,
) -> Result<StandingGrant, DecideError> {
    let refuse = |why: &str| Err(DecideError::NotRemembered(why.to_owned()));
    let Some(scope) = remember
        .suggestion
        .checked_sub(1)
        .and_then(|at| approval.suggestions.get(at))
    else {
        return Err(DecideError::NotRemembered(format!(
            "it has {} suggestions, counted from 1",
            approval.suggestions.len()
        )));
    };
    if decision.verdict == Verdict::Approve
        && let Some(why) = never_allowed(approval.class, approval.required, &approval.labels)
    {
        return refuse(why);
    }
    let lifetime = remember.lifetime_ms.unwrap_or(DEFAULT_GRANT_MS);
    let uses = remember.uses.unwrap_or(DEFAULT_GRANT_USES);
    if lifetime == 0 || lifetime > MAX_GRANT_MS {
        return refuse("it holds for at most 92 days");
    }
    if uses == 0 || uses > MAX_GRANT_USES {
        return refuse("it holds for 1 to 10,000 actions");
    }
    let mut scope = scope.clone();
    if remember.any_component {
        scope.component = None;
    }
    let created_ms = now_ms();
    Ok(StandingGrant {
        id: GrantId::new(),
        verdict: decision.verdict,
        scope,
        principal: principal.clone(),
        approval: approval.id,
        reason: decision.reason.clone(),
        created_ms,
        expires_ms: created_ms.saturating_add(lifetime),
        uses: 0,
        uses_left: uses,
    })
}

/// What the trail says of a grant; its scope, which may be private, stays sealed.
fn event_of(kind: EventKind, row: &GrantRow) -> Event {
    Event::new(kind)
        .agent(row.agent.clone())
        .detail(json!({ "grant": row.id.to_string(), "verdict": row.verdict.as_str() }))
}

impl StoredGrant {
    /// Whether it still answers.
    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.row.expires_ms && self.row.uses_left > 0
    }
}
