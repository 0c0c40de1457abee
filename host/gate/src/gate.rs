//! The way of an action: manifest, floor, policy, person.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use nexus_audit::{Audit, EventKind};
use nexus_manifest::Digest;
use nexus_store::Store;
use nexus_vault::Vault;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast};

use crate::approval::{Approval, Filter, Page};
use crate::book::{Book, Bounds};
use crate::edit::{Edit, Fixed, Regate, Shapes};
use crate::errors::{OpenError, QueryError, Refusal};
use crate::in_force::{self, InForce, PolicySource};
use crate::judge::judge;
use crate::kind::Kind;
use crate::known::{Introduction, Known};
use crate::lock::Lock;
use crate::observer::{Anyone, Approvers, Floor, Observer, OpenFloor, SelfApproval};
use crate::permit::{Grant, Permit};
use crate::policy::{Answer, Policy, PolicyVersion};
use crate::question::Question;
use crate::standing::{Found, Ledger};
use crate::{Action, ApprovalId, Company, class, events, grants, records, timer};

/// An action that needs a person may carry no more than this: beyond it nobody reads to the end.
pub const MAX_ASKED_BYTES: usize = 64 * 1024;

/// How many changes of approvals a watcher may fall behind before it misses some.
const WATCH_CAPACITY: usize = 1024;

/// What a gate is made of.
pub struct Options {
    /// Where approvals are kept.
    pub store: Arc<dyn Store>,
    /// Where everything is recorded.
    pub audit: Audit,
    /// Seals what is in an approval.
    pub vault: Vault,
    /// What is allowed. One that was handed in while the host ran goes before the shipped one, and one
    /// from a file before both.
    pub policy: Policy,
    /// Where that policy comes from.
    pub policy_source: PolicySource,
    /// What no policy can allow.
    pub floor: Arc<dyn Floor>,
    /// Who may decide.
    pub approvers: Arc<dyn Approvers>,
    /// What stops everything at once.
    pub lock: Lock,
    /// What of an action can be edited.
    pub shapes: Arc<dyn Shapes>,
    /// How long a question stays open, and its answer usable.
    pub deadline: Duration,
    /// Whether the one who started an invocation may approve its actions.
    pub self_approval: SelfApproval,
    /// Whether people are asked as well on behalf of what the clock or arriving data began. Without
    /// it such an action is refused as unattended.
    pub queue_unattended: bool,
    /// How many questions of one agent may be open at a time; it may ask twice as many within an hour.
    pub questions_per_agent: usize,
}

impl Options {
    /// An open floor, and a day to answer.
    pub fn new(store: Arc<dyn Store>, audit: Audit, vault: Vault, policy: Policy) -> Self {
        Self {
            store,
            audit,
            vault,
            policy,
            policy_source: PolicySource::Shipped,
            floor: Arc::new(OpenFloor),
            approvers: Arc::new(Anyone),
            lock: Lock::default(),
            shapes: Arc::new(Fixed),
            deadline: Duration::from_secs(24 * 60 * 60),
            self_approval: SelfApproval::Auto,
            queue_unattended: false,
            questions_per_agent: 1_000,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("policy", &self.policy)
            .field("deadline", &self.deadline)
            .field("self_approval", &self.self_approval)
            .finish_non_exhaustive()
    }
}

/// The one place that permits effects. A cheap handle; all clones are one gate.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Audit,
    pub(crate) vault: Vault,
    pub(crate) floor: Arc<dyn Floor>,
    pub(crate) approvers: Arc<dyn Approvers>,
    pub(crate) lock: Lock,
    pub(crate) shapes: Arc<dyn Shapes>,
    pub(crate) deadline: Duration,
    pub(crate) self_approval: SelfApproval,
    pub(crate) queue_unattended: bool,
    pub(crate) bounds: Bounds,
    pub(crate) runtime: Handle,
    pub(crate) watchers: broadcast::Sender<Approval>,
    /// Wakes the task that ends questions when the earliest deadline has changed.
    pub(crate) timer: Arc<Notify>,
    /// Wakes who looks for a question that is on its way to the disk.
    pub(crate) landings: Notify,
    /// Itself, for the tasks it starts.
    pub(crate) this: Weak<Inner>,
    pub(crate) policy: RwLock<InForce>,
    /// Held while the policy changes. Nobody who asks it waits for that.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Held for reading from the last look at the policy until the effect's record is written. Whoever
    /// has changed the policy waits for those who have looked before.
    pub(crate) starting: Arc<tokio::sync::RwLock<()>>,
    book: Mutex<Book>,
    ledger: Mutex<Ledger>,
    pub(crate) known: Known,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("policy", &self.inner.policy().version())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.timer.notify_one();
    }
}

impl Gate {
    /// Opens the gate. Approvals that a dead process left behind are cancelled first: nobody waits for
    /// them any more. Must be called on a tokio runtime, which also runs the gate's own tasks.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let ledger = Ledger::open(&*options.store, &options.vault).await;
        let ledger = ledger.map_err(|error| OpenError::Grants(error.to_string()))?;
        let known = Known::open(&*options.store).await;
        let known = known.map_err(|error| OpenError::Known(error.to_string()))?;
        let timer = Arc::new(Notify::new());
        let policy = in_force::at_start(
            &*options.store,
            &options.audit,
            options.policy,
            options.policy_source,
        )
        .await?;
        let inner = Arc::new_cyclic(|this| Inner {
            this: this.clone(),
            store: options.store,
            audit: options.audit,
            vault: options.vault,
            floor: options.floor,
            approvers: options.approvers,
            lock: options.lock,
            shapes: options.shapes,
            deadline: options.deadline,
            self_approval: options.self_approval,
            queue_unattended: options.queue_unattended,
            bounds: Bounds {
                open: options.questions_per_agent,
                hourly: u32::try_from(options.questions_per_agent.saturating_mul(2))
                    .unwrap_or(u32::MAX),
            },
            runtime: Handle::current(),
            watchers: broadcast::channel(WATCH_CAPACITY).0,
            timer: timer.clone(),
            landings: Notify::new(),
            policy: RwLock::new(policy),
            changing: tokio::sync::Mutex::default(),
            starting: Arc::default(),
            book: Mutex::default(),
            ledger: Mutex::new(ledger),
            known,
        });
        inner
            .cancel_leftovers()
            .await
            .map_err(OpenError::Leftovers)?;
        let told = inner.tell_unfinished().await;
        told.map_err(OpenError::Leftovers)?;
        inner.sweep_grants().await;
        inner
            .runtime
            .spawn(timer::run(Arc::downgrade(&inner), timer));
        Ok(Self { inner })
    }

    /// Asks whether an action may happen: manifest, floor, policy, and if policy says so, a person. A
    /// permit is good for exactly this action, once.
    ///
    /// May wait for a person until the deadline. Dropping the future while it waits withdraws the
    /// question; a permit that is dropped unused withdraws its approval.
    pub async fn check<K: Kind>(
        &self,
        action: Action,
        observer: &dyn Observer,
    ) -> Result<Permit<K>, Refusal> {
        let judged = self.judge::<K>(action, observer).await;
        if let Err(refusal) = &judged {
            observer.refused(refusal);
        }
        judged
    }

    async fn judge<K: Kind>(
        &self,
        mut action: Action,
        observer: &dyn Observer,
    ) -> Result<Permit<K>, Refusal> {
        let policy = self.inner.policy();
        let judged = self.inner.judge::<K>(&policy, &mut action)?;
        let approvals = judged.approvals;
        let mut grant = Grant::new(self.inner.clone(), action, policy.version(), judged);
        if approvals == 0 {
            return Ok(Permit::new(grant));
        }
        if grant.action.context.shadow {
            let refusal =
                Refusal::Forbidden("it needs a person, and a shadow run asks nobody".to_owned());
            return Err(self
                .inner
                .refuse(&grant.action, &grant.digest, &grant.policies, refusal));
        }
        match self.inner.standing(&grant.action, approvals) {
            Found::Allow(ticket) => {
                grant.rest_on(ticket);
                return Ok(Permit::new(grant));
            }
            Found::Deny(id) => return Err(Box::pin(self.inner.deny_standing(&grant, id)).await),
            Found::Nothing(void) => self.inner.withdraw_grants(void),
        }
        // Boxed: the way past a person is long, and most actions do not go it.
        let asked = grant.action.clone();
        let regate: Arc<Regate> =
            Arc::new(move |gate: &Inner, edit: &Edit| gate.regate::<K>(&asked, edit));
        let grant = Box::pin(self.inner.ask(grant, approvals, observer, regate)).await?;
        Ok(Permit::new(grant))
    }

    /// The emergency lock.
    pub fn lock(&self) -> &Lock {
        &self.inner.lock
    }

    /// Withdraws every question and every approval that is not used, and says how many there were.
    /// With the lock engaged none comes after them.
    pub async fn withdraw_all(&self, reason: &str) -> usize {
        let live = self.inner.book().ids();
        let count = live.len();
        // Beside each other: they share transactions.
        let mut withdrawals = tokio::task::JoinSet::new();
        for id in live {
            let (gate, reason) = (self.inner.clone(), reason.to_owned());
            let withdraw = async move { gate.withdraw(id, &reason).await };
            withdrawals.spawn_on(withdraw, &self.inner.runtime);
        }
        withdrawals.join_all().await;
        count
    }

    /// One approval, whatever became of it.
    pub async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, QueryError> {
        match self.inner.find(id).await.map_err(QueryError)? {
            Some(stored) => self.inner.open_row(stored.row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The approvals that match, oldest first unless the page says otherwise.
    pub async fn approvals(
        &self,
        filter: &Filter,
        page: &Page,
    ) -> Result<Vec<Approval>, QueryError> {
        let mut approvals = Vec::new();
        for stored in records::list(&*self.inner.store, filter, page).await? {
            approvals.push(self.inner.open_row(stored.row).await?);
        }
        Ok(approvals)
    }

    /// How many questions are shown to people now.
    pub fn asking(&self) -> usize {
        self.inner.book().shown()
    }

    /// Forgets the approvals that were over, their deadline included, before `cutoff_ms` since the
    /// epoch. Says how many. What became of them stays in the audit trail.
    pub async fn forget_approvals(&self, cutoff_ms: u64) -> Result<usize, QueryError> {
        records::forget(&*self.inner.store, cutoff_ms).await
    }

    /// How a question stands among the others of its agent.
    pub fn company(&self, approval: &Approval) -> Company {
        self.inner.book().company(approval.id, &approval.agent)
    }

    /// Every change of an approval from now on. A receiver that falls too far behind is told so, and
    /// lists anew.
    pub fn watch(&self) -> broadcast::Receiver<Approval> {
        self.inner.watchers.subscribe()
    }
}

/// On whose behalf components are tried with examples: nobody's, and no action of it passes.
pub const REHEARSAL: &str = "nexus:rehearsal";

/// What kind, manifest, floor and policy say of an action that may go on.
pub(crate) struct Judged {
    pub(crate) digest: Digest,
    pub(crate) approvals: u32,
    pub(crate) policies: Vec<String>,
    /// What is remembered if it happens.
    pub(crate) introduction: Option<Introduction>,
}

impl Inner {
    /// Everything that is asked before a person is. Raises the action's class to what the host sees.
    pub(crate) fn judge<K: Kind>(
        &self,
        policy: &Policy,
        action: &mut Action,
    ) -> Result<Judged, Refusal> {
        if action.capability != K::CAPABILITY
            || action.kind != K::ACTION
            || !K::VERBS.contains(&action.verb.as_str())
        {
            let text = format!(
                "{} {} is not an action of this kind",
                action.capability, action.verb
            );
            return Err(Refusal::Invalid(text));
        }
        // Only ever raised: what the caller says is a lower bound.
        action.class = action.class.max(class::class_of::<K>(action));
        let sighting = self.known.look(action);
        if class::raisable::<K>() {
            let named = policy.class(|| Question::of(action, sighting.facts));
            action.class = action.class.max(named);
        }
        let canonical = action
            .canonical(&policy.version())
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let digest = Digest::of(&canonical);
        let forbid = |policies: &[String], reason: String| {
            self.refuse(action, &digest, policies, Refusal::Forbidden(reason))
        };
        grants::check::<K>(action).map_err(|reason| forbid(&[], reason))?;
        self.floor(action).map_err(|reason| forbid(&[], reason))?;
        match &*judge(policy, Question::of(action, sighting.facts)) {
            Answer::Permitted {
                approvals,
                policies,
            } => Ok(Judged {
                digest,
                approvals: *approvals,
                policies: policies.clone(),
                introduction: sighting.introduction,
            }),
            Answer::Refused { policies, errors } => {
                Err(forbid(policies, refusal_text(policies, errors)))
            }
        }
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .policy
            .clone()
    }

    pub(crate) fn policy_version(&self) -> PolicyVersion {
        self.policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .policy
            .version()
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn open_row(&self, row: records::Row) -> Result<Approval, QueryError> {
        records::open(&*self.store, &self.vault, row).await
    }

    /// What neither policy nor person can lift.
    pub(crate) fn floor(&self, action: &Action) -> Result<(), String> {
        self.lock.check().map_err(|locked| locked.to_string())?;
        if action.context.principal.as_str() == REHEARSAL {
            return Err("a rehearsal has no effects".to_owned());
        }
        if action.context.shadow {
            crate::shadow::check(action)?;
        }
        self.floor.check(action)
    }

    /// Records a refusal. A refusal that cannot be recorded is still one, and says what is wrong.
    pub(crate) fn refuse(
        &self,
        action: &Action,
        digest: &Digest,
        policies: &[String],
        refusal: Refusal,
    ) -> Refusal {
        let event = events::of_action(EventKind::ActionRefused, action, digest, policies, None)
            .outcome(refusal.to_string());
        match self.audit.note(event) {
            Ok(()) => refusal,
            Err(error) => Refusal::Unavailable(error.to_string()),
        }
    }
}

fn refusal_text(policies: &[String], errors: &[String]) -> String {
    if !errors.is_empty() {
        format!("the policy could not be evaluated: {}", errors.join("; "))
    } else if policies.is_empty() {
        "no policy permits it".to_owned()
    } else {
        format!("forbidden by policy {}", policies.join(", "))
    }
}
