//! Permits: the only way to an effect.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use nexus_audit::{Event, EventKind};
use nexus_manifest::Digest;
use nexus_store::{Commit, CommitError, Committed, now_ms};
use tokio::sync::OwnedRwLockReadGuard;

use crate::approval::State;
use crate::errors::{QueryError, StartError};
use crate::gate::{Inner, Judged, MAX_ASKED_BYTES};
use crate::kind::Kind;
use crate::known::Introduction;
use crate::lock::Pass;
use crate::payload::EncodingError;
use crate::policy::PolicyVersion;
use crate::receipt::Receipt;
use crate::{Action, ApprovalId, EffectClass, Nonce, Payload, events, records, standing};

/// The right to one effect, exactly as it was described, once. Only [`Gate::check`](crate::Gate::check)
/// makes one. Dropped unused, it withdraws its approval.
#[must_use = "a permit that is dropped is withdrawn"]
pub struct Permit<K> {
    grant: Option<Box<Grant>>,
    action: Arc<Action>,
    digest: Digest,
    kind: PhantomData<fn() -> K>,
}

/// What a permit is about.
pub(crate) struct Grant {
    pub(crate) gate: Arc<Inner>,
    pub(crate) action: Arc<Action>,
    pub(crate) digest: Digest,
    pub(crate) version: PolicyVersion,
    pub(crate) policies: Vec<String>,
    /// Where the agent becomes known with the effect.
    introduction: Option<Introduction>,
    /// Part of the digest once a person is asked.
    nonce: Option<Nonce>,
    approval: Option<Ticket>,
    /// Whether a person changed what the agent asked for.
    pub(crate) edited: bool,
    /// The standing grant that stands in for an approval.
    standing: Option<standing::Ticket>,
}

/// The right to begin what was permitted, under the lock and the policy as they are.
struct Starting {
    _pass: Pass,
    _policy: OwnedRwLockReadGuard<()>,
}

/// The approval behind a grant.
struct Ticket {
    id: ApprovalId,
    consumed: bool,
}

impl Grant {
    pub(crate) fn new(
        gate: Arc<Inner>,
        action: Action,
        version: PolicyVersion,
        judged: Judged,
    ) -> Self {
        Self {
            gate,
            action: Arc::new(action),
            digest: judged.digest,
            version,
            policies: judged.policies,
            introduction: judged.introduction,
            nonce: None,
            approval: None,
            edited: false,
            standing: None,
        }
    }

    /// Makes a question of it: from here on the digest is that of this one question.
    pub(crate) fn ask(&mut self, nonce: Nonce) -> Result<Vec<u8>, EncodingError> {
        let canonical = self.action.canonical_question(&self.version, &nonce)?;
        self.digest = Digest::of(&canonical);
        self.nonce = Some(nonce);
        Ok(canonical)
    }

    pub(crate) fn approved(&mut self, id: ApprovalId) {
        self.approval = Some(Ticket {
            id,
            consumed: false,
        });
    }

    /// Whether a person would read it to the end; the error says by how much it is too large.
    pub(crate) fn fits_a_person(&self) -> Result<(), String> {
        let payload = &self.action.payload;
        let parts: usize = payload.parts.iter().map(|part| part.bytes.len()).sum();
        let canonical = self
            .action
            .canonical_question(&self.version, &Nonce::from_bytes([0; 16]));
        let bytes = parts + canonical.map_err(|error| error.to_string())?.len();
        if bytes <= MAX_ASKED_BYTES {
            return Ok(());
        }
        Err(format!(
            "a person would have to approve this, and its {bytes} bytes are more than the {MAX_ASKED_BYTES} that can be shown"
        ))
    }

    pub(crate) fn rest_on(&mut self, ticket: standing::Ticket) {
        self.standing = Some(ticket);
    }

    /// Whether a person's word stands behind it, which is used up with the effect.
    fn is_free(&self) -> bool {
        self.approval.is_none() && self.standing.is_none()
    }

    fn approval(&self) -> Option<ApprovalId> {
        self.approval.as_ref().map(|ticket| ticket.id)
    }

    /// Whether nothing has changed since the permit was given, least of all what is about to be sent.
    /// As long as what it returns is held, whoever engages the emergency lock or changes the policy
    /// waits for what follows.
    async fn recheck(&self, payload: &Payload) -> Result<Starting, StartError> {
        let changed = StartError::Changed {
            permitted: self.digest,
        };
        // Nobody can change the action that the digest was computed from, so bytes that equal its own
        // have that digest. What a person has read is hashed once more all the same.
        if self.approval.is_some() || *payload != self.action.payload {
            let canonical = self
                .action
                .canonical_with(payload, &self.version, self.nonce.as_ref())
                .map_err(|_| changed.clone())?;
            if Digest::of(&canonical) != self.digest {
                return Err(changed);
            }
        }
        let policy = self.gate.starting.clone().read_owned().await;
        if self.gate.policy_version() != self.version {
            return Err(StartError::PolicyChanged);
        }
        let pass = self.gate.lock.enter();
        let pass = pass.map_err(|locked| StartError::Forbidden(locked.to_string()))?;
        self.gate
            .floor
            .check(&self.action)
            .map_err(StartError::Forbidden)?;
        Ok(Starting {
            _pass: pass,
            _policy: policy,
        })
    }

    pub(crate) fn event(&self, kind: EventKind) -> Event {
        let mut event = events::of_action(
            kind,
            &self.action,
            &self.digest,
            &self.policies,
            self.approval(),
        );
        if let Some(ticket) = &self.standing {
            event.detail["grant"] = ticket.id.to_string().into();
        }
        event
    }

    /// Adds to `commit` that a use of the standing grant is counted.
    async fn count_use(
        &self,
        ticket: &standing::Ticket,
        commit: &mut Commit,
    ) -> Result<(), StartError> {
        let unavailable = |error: QueryError| StartError::Unavailable(error.to_string());
        let stored = standing::load(&*self.gate.store, ticket.id)
            .await
            .map_err(unavailable)?
            .ok_or(StartError::GrantGone(ticket.id))?;
        if !stored.holds(now_ms()) {
            return Err(StartError::GrantGone(ticket.id));
        }
        let giver = &stored.row.principal;
        if !self.gate.approvers.may_decide(giver) {
            return Err(StartError::ApproverGone(giver.clone()));
        }
        stored.spend(commit).map_err(unavailable)
    }

    pub(crate) fn note(&self, event: Event) -> Result<(), StartError> {
        self.gate
            .audit
            .note(event)
            .map_err(|error| StartError::Unavailable(error.to_string()))
    }

    /// Consumes the approval, if there is one, and writes `events`, together with `effect`.
    async fn commit(
        &mut self,
        effect: Commit,
        records: &[EventKind],
    ) -> Result<Committed, StartError> {
        let mut effect = effect;
        // Only a person's word makes an agent known where it takes one.
        if self.is_free() {
            self.introduction
                .take_if(|introduction| introduction.asks());
        }
        loop {
            // Only a commit that may be tried again is kept.
            let mut commit = if self.is_free() {
                std::mem::take(&mut effect)
            } else {
                effect.clone()
            };
            if let Some(ticket) = &self.standing {
                self.count_use(ticket, &mut commit).await?;
            }
            let mut consumed = None;
            if let Some(id) = self.approval() {
                let stored = self
                    .gate
                    .load(id)
                    .await
                    .map_err(StartError::Unavailable)?
                    .ok_or(StartError::Spent)?;
                match stored.row.state {
                    State::Approved if now_ms() >= stored.row.deadline_ms => {
                        self.gate
                            .expire(id)
                            .await
                            .map_err(StartError::Unavailable)?;
                        return Err(StartError::Expired);
                    }
                    State::Approved
                        if stored.row.digest == self.digest
                            && stored.row.policy == self.version => {}
                    State::Expired => return Err(StartError::Expired),
                    _ => return Err(StartError::Spent),
                }
                // The word of someone who has lost the right to give it is no word.
                let gone = stored
                    .row
                    .decisions
                    .iter()
                    .find(|vote| !self.gate.approvers.may_decide(&vote.principal));
                if let Some(vote) = gone {
                    return Err(StartError::ApproverGone(vote.principal.clone()));
                }
                let mut next = stored.row.clone();
                next.state = State::Consumed;
                stored
                    .replace(&next, &mut commit)
                    .map_err(|error| StartError::Unavailable(error.to_string()))?;
                consumed = Some(next);
            }
            if let Some(introduction) = &self.introduction {
                introduction
                    .put(&mut commit)
                    .map_err(|error| StartError::Unavailable(error.to_string()))?;
            }
            for kind in records {
                let mut event = self.event(*kind);
                if *kind == EventKind::EffectFinished {
                    event = event.outcome("ok");
                }
                self.gate.audit.append(&mut commit, event);
            }
            let committed = self.gate.store.commit(commit).await;
            let used = match (&committed, &consumed) {
                (Ok(_), _) => true,
                // Nothing begins, and yet the approval may be used up.
                (Err(error), Some(row)) => records::landed(&*self.gate.store, error, row).await,
                (Err(_), None) => false,
            };
            if let (true, Some(row), Some(ticket)) = (used, consumed, &mut self.approval) {
                ticket.consumed = true;
                self.gate.settled(row, None).await;
            }
            match committed {
                Ok(committed) => {
                    if let Some(introduction) = self.introduction.take() {
                        self.gate.known.enter(introduction);
                    }
                    if let Some(ticket) = &mut self.standing {
                        let (agent, id) = (&self.action.context.agent, ticket.id);
                        self.gate.ledger().counted(agent, id, Some(ticket));
                    }
                    return Ok(committed);
                }
                Err(CommitError::Conflict { table, key })
                    if table == records::APPROVALS
                        && self.approval().is_some_and(|id| records::key(id) == key) => {}
                // Another use was counted first.
                Err(CommitError::Conflict { table, key })
                    if table == standing::GRANTS
                        && self
                            .standing
                            .as_ref()
                            .is_some_and(|ticket| standing::key(ticket.id) == key) => {}
                Err(CommitError::Conflict { table, key }) => {
                    return Err(StartError::Conflict { table, key });
                }
                Err(error @ CommitError::TooLarge { .. }) => {
                    return Err(StartError::TooLarge(error.to_string()));
                }
                Err(error) => return Err(StartError::Unavailable(error.to_string())),
            }
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(Ticket {
            id,
            consumed: false,
        }) = self.approval
        {
            let gate = self.gate.clone();
            self.gate.runtime.spawn(async move {
                gate.withdraw(id, "what was approved was not done").await;
            });
        }
    }
}

impl<K: Kind> Permit<K> {
    pub(crate) fn new(grant: Grant) -> Self {
        Self {
            action: grant.action.clone(),
            digest: grant.digest,
            grant: Some(Box::new(grant)),
            kind: PhantomData,
        }
    }

    /// The action that is permitted.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The digest that is permitted.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What people have approved, if they were asked.
    pub fn approval(&self) -> Option<ApprovalId> {
        self.grant.as_ref().and_then(|grant| grant.approval())
    }

    /// Whether a person changed what was asked for: [`action`](Self::action) is then what may happen,
    /// and not what was brought to the gate.
    pub fn edited(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.edited)
    }

    /// Begins the effect. `payload` is made from the very bytes that are about to be sent, and must be
    /// what was permitted. When this returns, the record of a write is durable and its approval
    /// consumed; the record of a read is in order and durable within a second.
    pub async fn start(mut self, payload: &Payload) -> Result<Receipt, StartError> {
        let mut grant = self.grant.take().ok_or(StartError::Spent)?;
        let starting = grant.recheck(payload).await?;
        if grant.action.class == EffectClass::Read && grant.is_free() {
            grant.note(grant.event(EventKind::EffectStarted))?;
            return Ok(Receipt::new(grant));
        }
        let runtime = grant.gate.runtime.clone();
        // On a task of its own: if the caller leaves while the record is written, the receipt is
        // dropped there, and the trail says that the outcome is unknown.
        let started = runtime.spawn(async move {
            let _starting = starting;
            grant
                .commit(Commit::new(), &[EventKind::EffectStarted])
                .await?;
            Ok(Receipt::new(grant))
        });
        started
            .await
            .unwrap_or_else(|error| Err(StartError::Unavailable(error.to_string())))
    }

    /// Does the effect, which is a transaction of the store: approval, effect and record are one
    /// commit. See [`try_commit`](Permit::try_commit).
    pub async fn commit(
        mut self,
        payload: &Payload,
        effect: Commit,
    ) -> Result<Committed, StartError> {
        self.try_commit(payload, effect).await
    }

    /// Does the effect like [`commit`](Permit::commit), and keeps the permit if the effect's own
    /// expectations did not hold ([`StartError::Conflict`]), so that it can be computed anew. In every
    /// other case the permit is spent.
    pub async fn try_commit(
        &mut self,
        payload: &Payload,
        effect: Commit,
    ) -> Result<Committed, StartError> {
        let mut grant = self.grant.take().ok_or(StartError::Spent)?;
        let starting = grant.recheck(payload).await?;
        let runtime = grant.gate.runtime.clone();
        let done = runtime.spawn(async move {
            let records = [EventKind::EffectStarted, EventKind::EffectFinished];
            let committed = grant.commit(effect, &records).await;
            drop(starting);
            (committed, grant)
        });
        let (committed, grant) = done
            .await
            .map_err(|error| StartError::Unavailable(error.to_string()))?;
        if matches!(committed, Err(StartError::Conflict { .. })) {
            self.grant = Some(grant);
        }
        committed
    }

    /// Permits a read that the host answers by itself: one record, and no receipt, because nothing
    /// leaves that could fail to come back.
    pub async fn read(mut self, payload: &Payload) -> Result<(), StartError> {
        let mut grant = self.grant.take().ok_or(StartError::Spent)?;
        let starting = grant.recheck(payload).await?;
        if grant.action.class != EffectClass::Read {
            return Err(StartError::NotARead);
        }
        if grant.is_free() {
            return grant.note(grant.event(EventKind::ActionPermitted));
        }
        let runtime = grant.gate.runtime.clone();
        let consumed = runtime.spawn(async move {
            let _starting = starting;
            grant
                .commit(Commit::new(), &[EventKind::ActionPermitted])
                .await
        });
        consumed
            .await
            .unwrap_or_else(|error| Err(StartError::Unavailable(error.to_string())))
            .map(drop)
    }
}

impl<K: Kind> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("capability", &K::CAPABILITY)
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}
