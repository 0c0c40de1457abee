//! Asking a person, and waiting for the answer.

use std::sync::Arc;

use nexus_audit::EventKind;
use nexus_store::Commit;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::approval::{Approval, State};
use crate::book::End;
use crate::errors::Refusal;
use crate::gate::{Inner, MAX_ASKED_BYTES, now_ms};
use crate::observer::Observer;
use crate::permit::Grant;
use crate::{ApprovalId, Nonce, RootOrigin, events, records, rendering};

impl Inner {
    /// Writes the question and waits. The grant comes back with its approval in it.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        mut grant: Grant,
        required: u32,
        observer: &dyn Observer,
    ) -> Result<Grant, Refusal> {
        let unavailable = |error: &dyn std::fmt::Display| Refusal::Unavailable(error.to_string());
        let nonce = Nonce::new().map_err(|error| unavailable(&error))?;
        let canonical = grant
            .ask(nonce)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let (action, digest) = (&grant.action, grant.digest);
        let parts: usize = action
            .payload
            .parts
            .iter()
            .map(|part| part.bytes.len())
            .sum();
        let bytes = canonical.len() + parts;
        if bytes > MAX_ASKED_BYTES {
            let text = format!(
                "a person would have to approve this, and its {bytes} bytes are more than the {MAX_ASKED_BYTES} that can be shown"
            );
            return Err(self.refuse(action, &digest, &grant.policies, Refusal::Invalid(text)));
        }
        if self.is_unattended(action.context.root) {
            return Err(self.refuse(action, &digest, &grant.policies, Refusal::Unattended));
        }
        let canonical = String::from_utf8(canonical).map_err(|error| unavailable(&error))?;

        let mut approval = self.question(&grant, required);
        let (waiter, answer) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        approval.state = self
            .book()
            .enter(approval.id, &approval.agent, deadline, waiter);
        self.timer.notify_one();
        // From here on, leaving early withdraws the question.
        let mut withdrawal = Withdrawal {
            gate: self.clone(),
            id: approval.id,
            landing: None,
            armed: true,
        };

        // Whoever engaged the lock has either found this question in the book, or is seen here.
        if let Err(locked) = self.lock.check() {
            let refusal = Refusal::Forbidden(locked.to_string());
            return Err(self.refuse(&grant.action, &digest, &grant.policies, refusal));
        }

        let mut commit = Commit::new();
        records::insert(&self.vault, &approval, canonical, &mut commit)
            .map_err(|error| unavailable(&error))?;
        let mut requested = events::of_action(
            EventKind::ApprovalRequested,
            &grant.action,
            &digest,
            &grant.policies,
            Some(approval.id),
        );
        requested = requested.outcome(approval.state.as_str());
        self.audit.append(&mut commit, requested);
        observer.waiting(&mut commit, &approval);
        let id = approval.id;
        // On a task of its own: a question that is on its way to the disk can't be unasked half-way.
        let landing = self.runtime.spawn(self.clone().land(commit, approval));
        let landed = withdrawal.landing.insert(landing).await;
        withdrawal.landing = None;
        let refused = match landed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = refused {
            observer.resumed();
            return Err(Refusal::Unavailable(error));
        }

        observer.asked(id);
        let end = answer.await.unwrap_or(End::Cancelled);
        observer.resumed();
        match end {
            End::Approved => {
                // From here on the grant answers for it.
                withdrawal.armed = false;
                grant.approved(id);
                Ok(grant)
            }
            End::Denied(reason) => {
                withdrawal.armed = false;
                Err(Refusal::Denied(reason))
            }
            // A question that ended by itself may not have been on disk then; withdrawing it once more
            // does no harm where it was.
            End::Expired => Err(Refusal::Expired),
            End::Cancelled => Err(Refusal::Cancelled),
        }
    }

    /// Commits a question, and catches up if it was promoted from the queue before it was on disk.
    async fn land(self: Arc<Self>, commit: Commit, approval: Approval) -> Result<(), String> {
        let landed = self.store.commit(commit).await;
        let (id, queued) = (approval.id, approval.state == State::Queued);
        self.landed(id);
        landed.map_err(|error| error.to_string())?;
        // Nobody may be watching; that is no error.
        let _ = self.watchers.send(approval);
        if queued && self.book().is_shown(id) {
            self.clone().promote(id).await;
        }
        Ok(())
    }

    fn landed(&self, id: ApprovalId) {
        self.book().landed(id);
        self.landings.notify_waiters();
    }

    /// Whether nobody may be asked about what this began.
    pub(crate) fn is_unattended(&self, root: RootOrigin) -> bool {
        !root.attended() && !self.queue_unattended
    }

    fn question(&self, grant: &Grant, required: u32) -> Approval {
        let (action, context) = (&grant.action, &*grant.action.context);
        let created_ms = now_ms();
        let lifetime = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        Approval {
            id: ApprovalId::new(),
            digest: grant.digest,
            policy: grant.version,
            kind: action.kind,
            agent: context.agent.clone(),
            component: context.component,
            principal: context.principal.clone(),
            invocation: context.invocation,
            sequence: action.sequence,
            root: context.root,
            chain: context.chain.clone(),
            capability: action.capability.to_owned(),
            verb: action.verb.clone(),
            target: action.target.clone(),
            class: action.class,
            labels: action.labels.union(&context.labels).cloned().collect(),
            policies: grant.policies.clone(),
            required,
            rendering: rendering::render(action, &grant.digest, required, &grant.policies),
            created_ms,
            deadline_ms: created_ms.saturating_add(lifetime),
            state: State::Pending,
            decisions: Vec::new(),
            cancel_reason: None,
        }
    }
}

/// Withdraws a question when the one who waits goes away, once the question is on disk.
struct Withdrawal {
    gate: Arc<Inner>,
    id: ApprovalId,
    landing: Option<JoinHandle<Result<(), String>>>,
    armed: bool,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (gate, id, landing) = (self.gate.clone(), self.id, self.landing.take());
        self.gate.runtime.spawn(async move {
            if let Some(landing) = landing {
                // Its error is the same to us: then there is nothing to withdraw.
                let _ = landing.await;
            }
            // It may never have set out.
            gate.landed(id);
            gate.withdraw(id, "the invocation did not wait for the answer")
                .await;
        });
    }
}
