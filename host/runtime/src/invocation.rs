//! One run of an agent, as seen from outside the guest.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use nexus_effects::Watch;
use nexus_gate::{ApprovalId, EffectClass, InvocationId, Label, Principal, Refusal, RootOrigin};
use nexus_manifest::{AgentName, Digest};
use nexus_store::{now_ms, unix_ms};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use crate::clock::{Deadline, EventClock};
use crate::held::Holdings;
use crate::limits::HostLimits;
use crate::live::Home;
use crate::log::{Level, Log, LogLine, Stream};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::rows::Rows;

/// Where an invocation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvocationState {
    /// The guest runs, or waits for something other than a person.
    Running,
    /// A person is asked. Every clock of the invocation stands.
    Waiting,
    /// It ended with an answer.
    Succeeded,
    /// It ended otherwise.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl InvocationState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Running | Self::Waiting)
    }
}

/// Something that happened to an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Its state changed.
    State(InvocationState),
    /// The guest said something.
    Log(LogLine),
    /// The guest said how far it is.
    Progress(Progress),
    /// A person is asked.
    Approval(ApprovalId),
}

/// How far the guest says it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// From 0.0 to 1.0.
    pub fraction: f64,
    /// At what, without control characters.
    pub message: String,
}

/// All that is known of an invocation at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The invocation.
    pub id: InvocationId,
    /// The agent that runs.
    pub agent: AgentName,
    /// The component it began on, and ends on.
    pub component: Digest,
    /// The generation of that component.
    pub generation: u64,
    /// On whose behalf.
    pub principal: Principal,
    /// Where the first call of the chain came from.
    pub root: RootOrigin,
    /// The callers, the first one first.
    pub chain: Vec<AgentName>,
    /// The caller's own name for it, which makes a repeated call find it.
    pub request_id: Option<String>,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// Milliseconds since the epoch, once it has ended.
    pub ended_ms: Option<u64>,
    /// Where it is.
    pub state: InvocationState,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The questions that wait for a person now.
    pub approvals: Vec<ApprovalId>,
    /// The guest's last word on how far it is.
    pub progress: Option<Progress>,
    /// Time spent computing.
    pub cpu: Duration,
    /// Messages dropped because the log limit was used up.
    pub dropped_logs: u64,
}

/// The facts of an invocation that never change.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: InvocationId,
    pub(crate) agent: AgentName,
    pub(crate) component: Digest,
    pub(crate) generation: u64,
    pub(crate) principal: Principal,
    pub(crate) root: RootOrigin,
    pub(crate) chain: Vec<AgentName>,
    /// The strictest class of the calls that led here.
    pub(crate) chain_class: EffectClass,
    pub(crate) request_id: Option<String>,
}

/// The state shared by the guest's side and all who watch.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) facts: Facts,
    pub(crate) home: Home,
    pub(crate) meter: Meter,
    pub(crate) holdings: Holdings,
    pub(crate) deadline: Deadline,
    pub(crate) clock: EventClock,
    created_at: SystemTime,
    log: Log,
    /// The secrets that it had put into requests.
    pub(crate) watch: Watch,
    parent: Option<Arc<Invocation>>,
    children: Mutex<Vec<Weak<Invocation>>>,
    calls: AtomicU32,
    /// Of the whole chain that it belongs to.
    chain_calls: Arc<AtomicU32>,
    status: Mutex<Status>,
    events: OnceLock<broadcast::Sender<Event>>,
    changed: Notify,
    cancelled: AtomicBool,
    cancel: Notify,
    /// Whether a row of it is in the store.
    stored: AtomicBool,
    pub(crate) rows: Rows,
}

#[derive(Debug)]
struct Status {
    state: InvocationState,
    outcome: Option<Arc<Outcome>>,
    ended_ms: Option<u64>,
    approvals: Vec<ApprovalId>,
    progress: Option<Progress>,
    labels: BTreeSet<Label>,
    /// What the guest was told last by the gate, if that was a no.
    refusal: Option<Refusal>,
    cancel_reason: Option<String>,
}

impl Invocation {
    pub(crate) fn new(
        facts: Facts,
        limits: &HostLimits,
        labels: BTreeSet<Label>,
        parent: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let now = tokio::time::Instant::now();
        let created_at = SystemTime::now();
        // A callee never outlasts its caller.
        let wall = parent.as_ref().map_or(limits.wall, |parent| {
            parent.deadline.left().min(limits.wall)
        });
        let watch = Watch::default();
        let invocation = Arc::new(Self {
            facts,
            home: Home::here(),
            meter: Meter::new(limits.cpu),
            holdings: Holdings::new(limits.held_bytes),
            deadline: Deadline::new(now, wall),
            clock: EventClock::new(now, created_at),
            created_at,
            log: Log::new(limits.log_bytes, watch.clone()),
            watch,
            chain_calls: parent
                .as_ref()
                .map(|parent| Arc::clone(&parent.chain_calls))
                .unwrap_or_default(),
            parent,
            children: Mutex::default(),
            calls: AtomicU32::new(0),
            status: Mutex::new(Status {
                state: InvocationState::Running,
                outcome: None,
                ended_ms: None,
                approvals: Vec::new(),
                progress: None,
                labels,
                refusal: None,
                cancel_reason: None,
            }),
            events: OnceLock::new(),
            changed: Notify::new(),
            cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            stored: AtomicBool::new(false),
            rows: Rows::default(),
        });
        if let Some(parent) = &invocation.parent {
            lock(&parent.children).push(Arc::downgrade(&invocation));
            // The parent may have ended between the check and now.
            if parent.is_cancelled() || parent.state().is_final() {
                invocation.cancel("its caller has ended");
            }
        }
        invocation
    }

    /// Brings back one that has ended, from its row.
    pub(crate) fn ended(record: Record, limits: &HostLimits) -> Arc<Self> {
        let facts = Facts {
            id: record.id,
            agent: record.agent,
            component: record.component,
            generation: record.generation,
            principal: record.principal,
            root: record.root,
            chain: record.chain,
            // It has ended and will call nobody.
            chain_class: EffectClass::Read,
            request_id: record.request_id,
        };
        let mut invocation = Self::new(facts, limits, BTreeSet::new(), None);
        if let Some(invocation) = Arc::get_mut(&mut invocation) {
            invocation.created_at =
                SystemTime::UNIX_EPOCH + Duration::from_millis(record.created_ms);
            let status = invocation
                .status
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            status.state = record.state;
            // Whoever waits for the end has to find one.
            status.outcome = Some(Arc::new(record.outcome.unwrap_or(Outcome::Interrupted)));
            status.ended_ms = record.ended_ms;
            status.progress = record.progress;
        }
        invocation
    }

    pub(crate) fn state(&self) -> InvocationState {
        self.status().state
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Counts a call of a peer; false once the limit is reached.
    pub(crate) fn count_call(&self, limit: u32) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) < limit
    }

    /// Counts a call of a peer by anybody in the chain; false once the limit is reached.
    pub(crate) fn count_chain_call(&self, limit: u32) -> bool {
        self.chain_calls.fetch_add(1, Ordering::Relaxed) < limit
    }

    pub(crate) fn labels(&self) -> BTreeSet<Label> {
        self.status().labels.clone()
    }

    pub(crate) fn add_labels(&self, labels: impl IntoIterator<Item = Label>) {
        self.status().labels.extend(labels);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.status().refusal = Some(refusal.clone());
    }

    /// The refusal that a guest's failure passes on: the last one, if the
    /// failure has its code.
    pub(crate) fn refusal(&self, code: &str) -> Option<Refusal> {
        let refusal = self.status().refusal.clone()?;
        let passed_on = match refusal {
            Refusal::Denied(_) => "denied",
            Refusal::Forbidden(_) => "forbidden",
            Refusal::Expired => "expired",
            Refusal::Unattended => "unattended",
            // These say that the call was wrong or could not be judged.
            Refusal::Invalid(_)
            | Refusal::Crowded(_)
            | Refusal::Unavailable(_)
            | Refusal::Cancelled => return None,
        };
        (passed_on == code).then_some(refusal)
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.stored.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_stored(&self) {
        self.stored.store(true, Ordering::Relaxed);
    }

    pub(crate) fn record(&self) -> Record {
        let status = self.status();
        let facts = &self.facts;
        Record {
            id: facts.id,
            agent: facts.agent.clone(),
            component: facts.component,
            generation: facts.generation,
            principal: facts.principal.clone(),
            root: facts.root,
            chain: facts.chain.clone(),
            request_id: facts.request_id.clone(),
            created_ms: unix_ms(self.created_at),
            ended_ms: status.ended_ms,
            state: status.state,
            outcome: status.outcome.as_deref().cloned(),
            approvals: status.approvals.clone(),
            progress: status.progress.clone(),
            cpu: self.meter.spent(),
            dropped_logs: self.log.dropped(),
        }
    }

    /// A person is asked: every clock stops, and those of the callers with it.
    pub(crate) fn wait_for(&self, approval: ApprovalId) {
        self.deadline.stop();
        self.status().approvals.push(approval);
        if let Some(parent) = &self.parent {
            parent.wait_for(approval);
        }
    }

    /// The question is on disk: from now on everybody may see that it waits.
    pub(crate) fn show_waiting(&self, approval: ApprovalId) {
        self.set_state(&mut self.status(), InvocationState::Waiting);
        self.emit(Event::Approval(approval));
        if let Some(parent) = &self.parent {
            parent.show_waiting(approval);
        }
    }

    /// The question is over.
    pub(crate) fn go_on(&self, approval: ApprovalId) {
        self.clock.advance();
        let runs = self.deadline.go_on();
        let mut status = self.status();
        status.approvals.retain(|waiting| *waiting != approval);
        if runs {
            self.set_state(&mut status, InvocationState::Running);
        }
        drop(status);
        if let Some(parent) = &self.parent {
            parent.go_on(approval);
        }
    }

    fn set_state(&self, status: &mut Status, state: InvocationState) {
        if status.state == state || status.state.is_final() {
            return;
        }
        status.state = state;
        self.emit(Event::State(state));
        self.changed.notify_waiters();
    }

    /// Asks the guest to end. The first reason stays.
    pub(crate) fn cancel(&self, reason: &str) {
        {
            let mut status = self.status();
            if status.state.is_final() || status.cancel_reason.is_some() {
                return;
            }
            status.cancel_reason = Some(reason.to_owned());
        }
        self.cancelled.store(true, Ordering::Release);
        self.cancel.notify_waiters();
        self.cancel_children();
    }

    fn cancel_children(&self) {
        let children = std::mem::take(&mut *lock(&self.children));
        for child in children.iter().filter_map(Weak::upgrade) {
            child.cancel("its caller has ended");
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Returns when somebody has asked the guest to end, with the reason.
    pub(crate) async fn cancellation(&self) -> String {
        loop {
            let cancel = self.cancel.notified();
            if self.is_cancelled() {
                return self.status().cancel_reason.clone().unwrap_or_default();
            }
            cancel.await;
        }
    }

    /// Ends it. Labels flow back to the caller, and callees that nobody waits
    /// for any more are cancelled.
    pub(crate) fn finish(&self, outcome: Outcome) {
        let now_ms = now_ms();
        for line in self.log.flush(now_ms) {
            self.emit(Event::Log(line));
        }
        // Nothing of the guest comes after this, and what is kept for those who ask holds no secret.
        self.watch.forget();
        self.cancel_children();
        let mut status = self.status();
        if let Some(parent) = &self.parent {
            parent.add_labels(status.labels.iter().cloned());
        }
        let state = match outcome {
            Outcome::Success(_) => InvocationState::Succeeded,
            Outcome::Cancelled { .. } => InvocationState::Cancelled,
            _ => InvocationState::Failed,
        };
        status.outcome = Some(Arc::new(outcome));
        status.ended_ms = Some(now_ms);
        status.approvals.clear();
        self.set_state(&mut status, state);
    }

    pub(crate) fn write_log(&self, level: Level, message: &str) {
        let line = self.log.write(now_ms(), level, message);
        if let Some(line) = line {
            self.trace(&line);
            self.emit(Event::Log(line));
        }
    }

    pub(crate) fn write_stream(&self, stream: Stream, bytes: &[u8]) {
        for line in self.log.stream(now_ms(), stream, bytes) {
            self.trace(&line);
            self.emit(Event::Log(line));
        }
    }

    pub(crate) fn log(&self) -> Vec<LogLine> {
        self.log.kept()
    }

    /// Standard error's unfinished line included: where a panic's text is.
    pub(crate) fn flush_log(&self) {
        for line in self.log.flush(now_ms()) {
            self.emit(Event::Log(line));
        }
    }

    fn trace(&self, line: &LogLine) {
        tracing::debug!(
            agent = %self.facts.agent,
            invocation = %self.facts.id,
            level = line.level.as_str(),
            "{}",
            line.message
        );
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        self.status().progress = Some(progress.clone());
        self.emit(Event::Progress(progress));
    }

    fn emit(&self, event: Event) {
        if let Some(events) = self.events.get() {
            // Nobody listening is the usual case.
            let _ = events.send(event);
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle to an invocation. The invocation runs on its own task and outlives
/// every handle.
#[derive(Debug, Clone)]
pub struct Running(pub(crate) Arc<Invocation>);

impl Running {
    /// The invocation.
    pub fn id(&self) -> InvocationId {
        self.0.facts.id
    }

    /// Where it is now.
    pub fn state(&self) -> InvocationState {
        self.0.state()
    }

    /// All that is known of it now.
    pub fn record(&self) -> Record {
        self.0.record()
    }

    /// Returns as soon as the state is another than `from`; at once if it is.
    pub async fn changed(&self, from: InvocationState) -> InvocationState {
        loop {
            let changed = self.0.changed.notified();
            let state = self.0.state();
            if state != from {
                return state;
            }
            changed.await;
        }
    }

    /// Waits for the end.
    pub async fn outcome(&self) -> Arc<Outcome> {
        loop {
            let changed = self.0.changed.notified();
            if let Some(outcome) = self.0.status().outcome.clone() {
                return outcome;
            }
            changed.await;
        }
    }

    /// What happens from now on. A slow listener misses events and is told so.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0
            .events
            .get_or_init(|| broadcast::channel(256).0)
            .subscribe()
    }

    /// The last lines that the guest wrote.
    pub fn log(&self) -> Vec<LogLine> {
        self.0.log()
    }

    /// What is known of the data that the guest has seen, for its caller.
    pub fn labels(&self) -> BTreeSet<Label> {
        self.0.labels()
    }

    /// Ends it within a few ticks, unless it has ended.
    pub fn cancel(&self, reason: &str) {
        self.0.cancel(reason);
    }
}
