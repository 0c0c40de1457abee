//! Asking a person, and waiting for the answer.

use std::sync::Arc;
use std::task::Poll;

use nexus_audit::EventKind;
use nexus_manifest::Digest;
use nexus_store::{Commit, now_ms};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::approval::{Approval, State};
use crate::book::End;
use crate::edit::{Regate, Replacement};
use crate::errors::Refusal;
use crate::gate::Inner;
use crate::observer::Observer;
use crate::permit::Grant;
use crate::{ApprovalId, Nonce, RootOrigin, Vote, events, records, rendering, standing};

/// A question before it is put.
struct Draft {
    grant: Grant,
    required: u32,
    id: ApprovalId,
    /// The question whose place it takes, and the word of the one who edited it.
    from: Option<(ApprovalId, Vote)>,
}

/// What came of a question.
enum Answered {
    Approved(Box<Grant>),
    Edited(Box<Replacement>),
}

impl Inner {
    /// Writes the question and waits. The grant comes back with its approval in it; if a person changed
    /// the action, it is the grant of what they put in its place.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        grant: Grant,
        required: u32,
        observer: &dyn Observer,
        regate: Arc<Regate>,
    ) -> Result<Grant, Refusal> {
        let mut draft = Draft {
            grant,
            required,
            id: ApprovalId::new(),
            from: None,
        };
        let mut landed = None;
        loop {
            match self.put(draft, observer, &regate, landed.take()).await? {
                Answered::Approved(grant) => return Ok(*grant),
                Answered::Edited(replacement) => {
                    let Replacement {
                        mut grant,
                        required,
                        id,
                        from,
                        vote,
                        landed: told,
                    } = *replacement;
                    grant.edited = true;
                    landed = Some(told);
                    draft = Draft {
                        grant,
                        required,
                        id,
                        from: Some((from, vote)),
                    };
                }
            }
        }
    }

    async fn put(
        self: &Arc<Self>,
        draft: Draft,
        observer: &dyn Observer,
        regate: &Arc<Regate>,
        told: Option<oneshot::Sender<Result<(), String>>>,
    ) -> Result<Answered, Refusal> {
        let Draft {
            mut grant,
            required,
            id,
            from,
        } = draft;
        let (action, digest) = (grant.action.clone(), grant.digest);
        if let Err(text) = grant.fits_a_person() {
            return Err(self.refuse(&action, &digest, &grant.policies, Refusal::Invalid(text)));
        }
        if self.is_unattended(action.context.root) {
            return Err(self.refuse(&action, &digest, &grant.policies, Refusal::Unattended));
        }
        // Each is kept, sealed, whether or not anybody waits for the answer. What a person has put in
        // the place of another question is not one more.
        let room = self.book().has_room(&action.context.agent, self.bounds);
        if from.is_none() && room.is_err() {
            let text = format!(
                "{} has asked as much as it may: {} questions are open, or {} were asked within the hour",
                action.context.agent, self.bounds.open, self.bounds.hourly
            );
            return Err(self.refuse(&action, &digest, &grant.policies, Refusal::Crowded(text)));
        }
        let unavailable = |error: &dyn std::fmt::Display| Refusal::Unavailable(error.to_string());
        let nonce = Nonce::new().map_err(|error| unavailable(&error))?;
        let canonical = grant.ask(nonce).map_err(|error| unavailable(&error))?;
        let canonical = String::from_utf8(canonical).map_err(|error| unavailable(&error))?;

        let mut approval = self.question(id, &grant, required);
        let mut votes = None;
        if let Some((from, vote)) = from {
            approval.edited_from = Some(from);
            approval.decisions.push(vote.clone());
            votes = Some((from, vote));
        }
        let (waiter, answer) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        // Who edited it has said yes to it.
        let decided = approval.decisions.len() as u64 >= u64::from(required);
        if decided {
            approval.state = State::Approved;
            self.book().enter_decided(id, &approval.agent, deadline);
        } else {
            approval.state = self.book().enter(
                id,
                &approval.agent,
                group(&approval),
                deadline,
                waiter,
                regate.clone(),
            );
        }
        self.timer.notify_one();
        // From here on, leaving early withdraws the question.
        let mut withdrawal = Withdrawal {
            gate: self.clone(),
            id,
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
        self.record(&grant, &approval, votes, &mut commit);
        let mut writing = None;
        if !decided {
            observer.waiting(&mut commit, &approval);
            writing = observer.writing();
        }
        // Handed over here: whatever its owner writes from now on comes after it.
        let mut write = Box::pin(self.clone().write(commit, writing));
        let begun = std::future::poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        // On a task of its own: a question that is on its way to the disk can't be unasked half-way.
        let landing = self.runtime.spawn(async move {
            match begun {
                Poll::Ready(written) => written,
                Poll::Pending => write.await,
            }
        });
        let landed = withdrawal.landing.insert(landing).await;
        withdrawal.landing = None;
        let landed = landed.unwrap_or_else(|error| Err(error.to_string()));
        if let Some(told) = told {
            // The editor may have left.
            let _ = told.send(landed.clone());
        }
        if let Err(error) = landed {
            self.landed(id);
            if !decided {
                observer.resumed();
            }
            return Err(Refusal::Unavailable(error));
        }
        // Who waits says so before anybody hears of the question or can answer it.
        if !decided {
            observer.asked(id);
        }
        self.announce(approval);
        if decided {
            withdrawal.armed = false;
            grant.approved(id);
            return Ok(Answered::Approved(Box::new(grant)));
        }

        let end = answer.await.unwrap_or(End::Cancelled);
        observer.resumed();
        match end {
            End::Approved => {
                // From here on the grant answers for it.
                withdrawal.armed = false;
                grant.approved(id);
                Ok(Answered::Approved(Box::new(grant)))
            }
            End::Edited(replacement) => {
                withdrawal.armed = false;
                Ok(Answered::Edited(replacement))
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

    /// Records that a person is asked, and the word of one who edited what is asked.
    fn record(
        &self,
        grant: &Grant,
        approval: &Approval,
        edited: Option<(ApprovalId, Vote)>,
        commit: &mut Commit,
    ) {
        let mut requested = events::of_action(
            EventKind::ApprovalRequested,
            &grant.action,
            &grant.digest,
            &grant.policies,
            Some(approval.id),
        )
        .outcome(approval.state.as_str());
        let Some((from, vote)) = edited else {
            return self.audit.append(commit, requested);
        };
        requested.detail["edited_from"] = from.to_string().into();
        self.audit.append(commit, requested);
        let decided = events::of_row(EventKind::ApprovalDecided, &records::Row::of(approval))
            .principal(vote.principal.as_str())
            .outcome("approve")
            .detail(serde_json::json!({ "edited_from": from.to_string() }));
        self.audit.append(commit, decided);
    }

    /// Writes a question, and holds what the observer has given until that is over.
    async fn write(
        self: Arc<Self>,
        commit: Commit,
        _writing: Option<Box<dyn Send>>,
    ) -> Result<(), String> {
        let written = self.store.commit(commit).await;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Tells of a question that is on disk and opens it to answers. Catches up if it was promoted from
    /// the queue before.
    fn announce(self: &Arc<Self>, approval: Approval) {
        let (id, queued) = (approval.id, approval.state == State::Queued);
        // Nobody may be watching; that is no error.
        let _ = self.watchers.send(approval);
        self.landed(id);
        if queued && self.book().is_shown(id) {
            self.runtime.spawn(self.clone().promote(id));
        }
    }

    fn landed(&self, id: ApprovalId) {
        self.book().landed(id);
        self.landings.notify_waiters();
    }

    /// Whether nobody may be asked about what this began.
    pub(crate) fn is_unattended(&self, root: RootOrigin) -> bool {
        !root.attended() && !self.queue_unattended
    }

    fn question(&self, id: ApprovalId, grant: &Grant, required: u32) -> Approval {
        let (action, context) = (&grant.action, &*grant.action.context);
        let created_ms = now_ms();
        let lifetime = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        Approval {
            id,
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
            suggestions: standing::suggest(action),
            created_ms,
            deadline_ms: created_ms.saturating_add(lifetime),
            state: State::Pending,
            edited_from: None,
            payload: action.payload.clone(),
            decisions: Vec::new(),
            cancel_reason: None,
        }
    }
}

/// What a question has in common with every other that shows the same: all but the number of the call
/// and of the invocation.
fn group(approval: &Approval) -> Digest {
    let shown = serde_json::json!([
        approval.component,
        approval.principal,
        approval.root,
        approval.chain,
        approval.capability,
        approval.verb,
        approval.target,
        approval.class,
        approval.labels,
        approval.required,
        approval.policies,
        approval.payload.fields,
        standing::parts_digest(&approval.payload),
    ]);
    Digest::of(shown.to_string().as_bytes())
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
