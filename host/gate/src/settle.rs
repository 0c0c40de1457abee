//! Every change of an approval: one row replaced, one event appended, in one transaction.

use std::sync::Arc;

use nexus_audit::{Event, EventKind};
use nexus_manifest::Digest;
use nexus_store::{Commit, CommitError, now_ms};

use crate::approval::{Approval, State};
use crate::book::End;
use crate::errors::DecideError;
use crate::gate::{Gate, Inner};
use crate::records::{self, Row, Stored};
use crate::standing::GrantRow;
use crate::{ApprovalId, Decision, Edit, Principal, Scope, SelfApproval, Verdict, Vote, events};

/// Rows settled in one transaction at start.
const LEFTOVERS: usize = 128;

impl Gate {
    /// Decides an approval, in the name of an authenticated person. The first valid decision wins;
    /// repeating it gives the same answer, anything else is refused and recorded. `digest` is what the
    /// decider has seen: if it is given, it must be the approval's.
    pub async fn decide(
        &self,
        id: ApprovalId,
        decision: impl Into<Decision>,
        digest: Option<Digest>,
        principal: &Principal,
    ) -> Result<Approval, DecideError> {
        let (gate, principal) = (self.inner.clone(), principal.clone());
        let decision = decision.into();
        // On a task of its own: a decision on its way to the disk takes effect though its client leaves.
        let decided = self
            .inner
            .runtime
            .spawn(async move { gate.decide_all(id, decision, digest, principal).await });
        decided
            .await
            .unwrap_or_else(|error| Err(DecideError::Unavailable(error.to_string())))
    }

    /// Withdraws an approval whose effect has not started.
    pub async fn cancel(&self, id: ApprovalId, reason: &str) -> Result<Approval, DecideError> {
        let (gate, reason) = (self.inner.clone(), reason.to_owned());
        let cancelled = self
            .inner
            .runtime
            .spawn(async move { gate.cancel(id, &reason).await });
        let row = match cancelled.await {
            Ok(Ok(Some(row))) => row,
            Ok(Ok(None)) => return Err(DecideError::NotFound(id)),
            Ok(Err(error)) => return Err(DecideError::Unavailable(error)),
            Err(error) => return Err(DecideError::Unavailable(error.to_string())),
        };
        let state = row.state;
        let approval = Box::new(self.inner.opened(row).await?);
        match state {
            State::Cancelled => Ok(*approval),
            State::Expired => Err(DecideError::Closed(approval)),
            _ => Err(DecideError::AlreadyDecided(approval)),
        }
    }
}

/// A change of one row.
pub(crate) struct Step {
    pub(crate) next: Row,
    pub(crate) event: Option<Event>,
    pub(crate) end: Option<End>,
    /// Whether it must go through on a full disk: what only takes away.
    pub(crate) urgent: bool,
    /// What is written with it.
    pub(crate) also: Commit,
}

impl Inner {
    /// Decides the questions that ask for the same first and the one that was named last: none of them
    /// is shown in between.
    async fn decide_all(
        self: Arc<Self>,
        id: ApprovalId,
        decision: Decision,
        digest: Option<Digest>,
        principal: Principal,
    ) -> Result<Approval, DecideError> {
        if decision.identical > 0 {
            if decision.edit.is_some() {
                let why = "an edit is for one action; the others stay as they are";
                return Err(DecideError::EditRefused(why.to_owned()));
            }
            let named = self.find(id).await.map_err(DecideError::Unavailable)?;
            let named = named.ok_or(DecideError::NotFound(id))?.row;
            let seen = digest.is_none_or(|seen| seen == named.digest);
            let same = match seen && named.state.is_open() {
                true => self.book().same_as(id),
                // What is wrong with it is told below.
                false => Vec::new(),
            };
            for other in same.into_iter().take(decision.identical) {
                let alike = Decision {
                    remember: None,
                    ..decision.clone()
                };
                let decided = self
                    .clone()
                    .decide(other, alike, None, principal.clone())
                    .await;
                match decided {
                    // Somebody else was quicker, or it was withdrawn.
                    Ok(_) | Err(DecideError::AlreadyDecided(_) | DecideError::Closed(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.decide(id, decision, digest, principal).await
    }

    async fn decide(
        self: Arc<Self>,
        id: ApprovalId,
        decision: Decision,
        digest: Option<Digest>,
        principal: Principal,
    ) -> Result<Approval, DecideError> {
        let approve = decision.verdict == Verdict::Approve;
        if !self.approvers.may_decide(&principal) {
            return Err(DecideError::NotAnApprover(principal));
        }
        let unavailable = DecideError::Unavailable;
        loop {
            let Some(stored) = self.find(id).await.map_err(unavailable)? else {
                return Err(DecideError::NotFound(id));
            };
            let row = &stored.row;
            if digest.is_some_and(|seen| seen != row.digest) {
                return Err(DecideError::DigestMismatch { actual: row.digest });
            }
            let mut votes = row.decisions.iter();
            let voted = votes.any(|vote| vote.principal == principal && vote.edited.is_some());
            if matches!(row.state, State::Expired | State::Cancelled) && !voted {
                return Err(DecideError::Closed(Box::new(
                    self.opened(stored.row).await?,
                )));
            }
            match row
                .decisions
                .iter()
                .find(|vote| vote.principal == principal)
            {
                Some(vote) if same(vote, &decision) => {
                    // What an edit leads to is known to the one alone who has made it.
                    if vote.edited.is_none() {
                        self.catch_up(&stored.row);
                    }
                    return self.opened(stored.row).await;
                }
                Some(_) => return Err(self.conflicting(stored.row, approve, &principal).await),
                None if !row.state.is_open() => {
                    return Err(self.conflicting(stored.row, approve, &principal).await);
                }
                None => {}
            }
            let now = now_ms();
            if now >= row.deadline_ms {
                self.expire(id).await.map_err(unavailable)?;
                continue;
            }
            if approve && principal == row.principal && !self.may_approve_own(&principal) {
                let others = self.approvers.may_another(&principal);
                return Err(DecideError::SelfApproval { others });
            }
            if let Some(edit) = &decision.edit {
                if let Some(taken) = self.edit(&stored, edit, &decision, &principal, now).await? {
                    return Ok(taken);
                }
                continue;
            }
            let mut step = vote(row, &decision, principal.clone(), now);
            let mut given = None;
            if let Some(remember) = decision.remember {
                let approval = self.opened(row.clone()).await?;
                let also = &mut step.also;
                let grant = self.remember(&approval, &decision, remember, &principal, also)?;
                if let Some(vote) = step.next.decisions.last_mut() {
                    vote.grant = Some(grant.0.id);
                }
                given = Some(grant);
            }
            let next = step.next.clone();
            // If somebody else was quicker, look again at what they made of it.
            if self
                .replace(&stored, step, given)
                .await
                .map_err(unavailable)?
            {
                return self.opened(next).await;
            }
        }
    }

    fn may_approve_own(&self, principal: &Principal) -> bool {
        match self.self_approval {
            SelfApproval::Allowed => true,
            SelfApproval::Refused => false,
            SelfApproval::Auto => !self.approvers.may_another(principal),
        }
    }

    /// A decision that comes too late, or takes back an earlier one: recorded, and without effect.
    async fn conflicting(&self, row: Row, approve: bool, principal: &Principal) -> DecideError {
        let said = if approve {
            Verdict::Approve
        } else {
            Verdict::Deny
        };
        let said = said.as_str();
        let event = events::of_row(EventKind::ApprovalDecided, &row)
            .principal(principal.as_str())
            .outcome(format!("{said} refused: already {}", row.state));
        if let Err(error) = self.audit.note(event) {
            return DecideError::Unavailable(error.to_string());
        }
        match self.opened(row).await {
            Ok(approval) => DecideError::AlreadyDecided(Box::new(approval)),
            Err(error) => error,
        }
    }

    /// Cancels what is alive; gives back the row as it is then.
    pub(crate) async fn cancel(&self, id: ApprovalId, reason: &str) -> Result<Option<Row>, String> {
        loop {
            let Some(stored) = self.find(id).await? else {
                return Ok(None);
            };
            if !stored.row.state.is_live() {
                return Ok(Some(stored.row));
            }
            let step = cancelled(&stored.row, reason);
            let next = step.next.clone();
            if self.replace(&stored, step, None).await? {
                return Ok(Some(next));
            }
        }
    }

    /// Cancels what the host itself gives up; a failure leaves a row that the next start cancels, and
    /// that nothing can use, because its permit is gone.
    pub(crate) async fn withdraw(&self, id: ApprovalId, reason: &str) {
        // Whatever the host noticed first, this is why.
        let reason = match self.lock.engaged() {
            Some(engaged) => engaged.to_string(),
            None => reason.to_owned(),
        };
        match self.cancel(id, &reason).await {
            Ok(Some(row)) => self.catch_up(&row),
            // It never reached the disk, or can't be changed there: forget it here all the same.
            Ok(None) => self.moved(id, State::Cancelled, Some(End::Cancelled)),
            Err(error) => {
                tracing::warn!(%id, error, "an approval could not be withdrawn");
                self.moved(id, State::Cancelled, Some(End::Cancelled));
            }
        }
    }

    /// Ends what is alive because its time is up.
    pub(crate) async fn expire(&self, id: ApprovalId) -> Result<(), String> {
        loop {
            let Some(stored) = self.load(id).await? else {
                // Not on disk yet; whoever waits for it withdraws it there.
                self.moved(id, State::Expired, Some(End::Expired));
                return Ok(());
            };
            if !stored.row.state.is_live() {
                self.catch_up(&stored.row);
                return Ok(());
            }
            let mut next = stored.row.clone();
            next.state = State::Expired;
            let event = events::of_row(EventKind::ApprovalExpired, &next);
            let step = Step {
                next,
                event: Some(event),
                end: Some(End::Expired),
                urgent: true,
                also: Commit::new(),
            };
            if self.replace(&stored, step, None).await? {
                return Ok(());
            }
        }
    }

    /// Cancels everything a dead process left alive.
    pub(crate) async fn cancel_leftovers(&self) -> Result<(), String> {
        for state in State::ALL.into_iter().filter(|state| state.is_live()) {
            loop {
                let filter = crate::Filter {
                    state: Some(state),
                    agent: None,
                };
                let page = crate::Page {
                    after: None,
                    limit: LEFTOVERS,
                    newest_first: false,
                };
                let leftovers = records::list(&*self.store, &filter, &page)
                    .await
                    .map_err(|error| error.to_string())?;
                if leftovers.is_empty() {
                    break;
                }
                let mut commit = Commit::new();
                for stored in &leftovers {
                    let step = cancelled(&stored.row, "host restarted");
                    stored
                        .replace(&step.next, &mut commit)
                        .map_err(|error| error.to_string())?;
                    if let Some(event) = step.event {
                        self.audit.append(&mut commit, event);
                    }
                }
                commit.urgent();
                self.store
                    .commit(commit)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Replaces a row; `false` if it has changed in the meantime, and nothing was written.
    pub(crate) async fn replace(
        &self,
        stored: &Stored,
        step: Step,
        given: Option<(GrantRow, Arc<Scope>)>,
    ) -> Result<bool, String> {
        let mut commit = step.also;
        stored
            .replace(&step.next, &mut commit)
            .map_err(|error| error.to_string())?;
        if let Some(event) = step.event {
            self.audit.append(&mut commit, event);
        }
        if step.urgent {
            commit.urgent();
        }
        match self.store.commit(commit).await {
            Ok(_) => {
                // Before anybody hears of the decision: what comes next is answered by it.
                if let Some((row, scope)) = given {
                    self.ledger().enter(row, scope);
                }
                self.settled(step.next, step.end).await;
                Ok(true)
            }
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => {
                // Whoever asked for it is told of the failure, and whoever waits goes by what is so.
                if records::landed(&*self.store, &error, &step.next).await {
                    if let Some((row, scope)) = given {
                        self.ledger().enter(row, scope);
                    }
                    self.settled(step.next, step.end).await;
                }
                Err(error.to_string())
            }
        }
    }

    /// Tells the one who waits of a change that nobody could tell of when it was made: its commit was
    /// answered with an error.
    fn catch_up(&self, row: &Row) {
        let end = match row.state {
            State::Pending | State::Queued => return,
            State::Approved => Some(End::Approved),
            State::Denied => {
                let no = row.decisions.iter().find(|vote| !vote.approved);
                Some(End::Denied(no.and_then(|vote| vote.reason.clone())))
            }
            State::Expired => Some(End::Expired),
            State::Cancelled => Some(End::Cancelled),
            // Whoever has used it waits no more.
            State::Consumed => None,
        };
        self.moved(row.id, row.state, end);
    }

    /// Tells everyone concerned of a change that is durable.
    pub(crate) async fn settled(&self, row: Row, end: Option<End>) {
        self.moved(row.id, row.state, end);
        self.show_late();
        if self.watchers.receiver_count() > 0 {
            match self.open_row(row).await {
                // The last watcher may just have gone.
                Ok(approval) => drop(self.watchers.send(approval)),
                Err(error) => {
                    tracing::warn!(%error, "a change of an approval could not be announced")
                }
            }
        }
    }

    pub(crate) fn moved(&self, id: ApprovalId, state: State, end: Option<End>) {
        let next = self.book().moved(id, state, end);
        if let (Some(next), Some(gate)) = (next, self.this.upgrade()) {
            self.runtime.spawn(gate.promote(next));
        }
    }

    /// Loads a row; one that is on its way to the disk is waited for, because its id is known already
    /// to whoever observes the question.
    pub(crate) async fn find(&self, id: ApprovalId) -> Result<Option<Stored>, String> {
        loop {
            let landing = self.landings.notified();
            tokio::pin!(landing);
            landing.as_mut().enable();
            let in_flight = self.book().in_flight(id);
            let stored = self.load(id).await?;
            if stored.is_some() || !in_flight {
                return Ok(stored);
            }
            landing.await;
        }
    }

    pub(crate) async fn load(&self, id: ApprovalId) -> Result<Option<Stored>, String> {
        records::load(&*self.store, id)
            .await
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn opened(&self, row: Row) -> Result<Approval, DecideError> {
        self.open_row(row)
            .await
            .map_err(|error| DecideError::Unavailable(error.to_string()))
    }
}

/// Whether a decision repeats what was said. What was not to be remembered is another word than what is.
fn same(vote: &Vote, decision: &Decision) -> bool {
    let edit = vote.edited.map(|edited| edited.edit);
    vote.approved == (decision.verdict == Verdict::Approve)
        && edit == decision.edit.as_ref().map(Edit::digest)
        && (vote.grant.is_some() || decision.remember.is_none())
}

/// What one person's word makes of a row.
fn vote(row: &Row, decision: &Decision, principal: Principal, time_ms: u64) -> Step {
    let mut next = row.clone();
    let (approved, reason) = (decision.verdict == Verdict::Approve, &decision.reason);
    let mut event = events::of_row(EventKind::ApprovalDecided, row)
        .principal(principal.as_str())
        .outcome(decision.verdict.as_str());
    if let Some(reason) = reason {
        event = event.detail(serde_json::json!({ "reason": reason }));
    }
    next.decisions.push(Vote {
        principal,
        approved,
        reason: reason.clone(),
        edited: None,
        grant: None,
        time_ms,
    });
    // Each person's word counts once, so that votes are people.
    let enough = next.decisions.len() as u64 >= u64::from(row.required);
    let end = if !approved {
        next.state = State::Denied;
        Some(End::Denied(reason.clone()))
    } else if enough {
        next.state = State::Approved;
        Some(End::Approved)
    } else {
        None
    };
    Step {
        next,
        event: Some(event),
        end,
        urgent: !approved && decision.remember.is_none(),
        also: Commit::new(),
    }
}

fn cancelled(row: &Row, reason: &str) -> Step {
    let mut next = row.clone();
    next.state = State::Cancelled;
    next.cancel_reason = Some(reason.to_owned());
    let event = events::of_row(EventKind::ApprovalCancelled, row).outcome(reason);
    Step {
        next,
        event: Some(event),
        end: Some(End::Cancelled),
        urgent: true,
        also: Commit::new(),
    }
}
