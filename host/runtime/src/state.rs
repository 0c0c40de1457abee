//! The data of one wasmtime store: what a capability sees of the invocation
//! that it serves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use nexus_audit::{Event, EventKind};
use nexus_gate::{Approval, ApprovalId, Context, Label, Observer, Refusal};
use nexus_store::Commit;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtx;

use crate::chain::Chain;
use crate::held::Held;
use crate::invocation::{Invocation, Progress};
use crate::limits::{HostLimits, Limit, Limiter};
use crate::log::{Level, escape};
use crate::rehearsal::Rehearsal;
use crate::rows::UnderWay;
use crate::runtime::{Runtime, Services};
use crate::{stored, wasi};

/// The host's side of one invocation.
pub struct State {
    /// The host values behind the guest's handles. At most 1,024 at a time;
    /// pushing one more fails, and such an error passed on with `?` ends the
    /// guest as exhausted.
    pub table: ResourceTable,
    pub(crate) invocation: Arc<Invocation>,
    pub(crate) limiter: Limiter,
    pub(crate) context: Arc<Context>,
    runtime: Runtime,
    wasi: Option<Box<WasiCtx>>,
    calls_left: u64,
    sequence: u64,
    /// Whether the instance is only tried out and may have no effect.
    trial: bool,
    /// The world of an example, if there is no other.
    rehearsal: Option<Arc<Rehearsal>>,
}

impl State {
    pub(crate) fn new(
        runtime: Runtime,
        invocation: Arc<Invocation>,
        context: Arc<Context>,
        limits: &HostLimits,
        trial: bool,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            table,
            invocation,
            limiter: Limiter::new(limits),
            context,
            runtime,
            wasi: None,
            calls_left: limits.host_calls,
            sequence: 0,
            trial,
            rehearsal: None,
        }
    }

    pub(crate) fn rehearse(&mut self, rehearsal: Arc<Rehearsal>) {
        self.rehearsal = Some(rehearsal);
    }

    /// The world of an example. To be asked by every capability before the gate: with it, nothing
    /// happens outside.
    pub fn rehearsal(&self) -> Option<Arc<Rehearsal>> {
        self.rehearsal.clone()
    }

    /// Who acts, for whom, and how it came to be.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// What capabilities work with.
    pub fn services(&self) -> &Arc<Services> {
        self.runtime.services()
    }

    /// The runtime, to call peers with.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// To be called first by every function of every capability.
    ///
    /// Fails once the invocation has made as many calls as it may, and always
    /// while a new component is only tried out; the error ends the guest.
    pub fn host_call(&mut self) -> wasmtime::Result<()> {
        if self.trial {
            return Err(wasmtime::Error::new(Stop::Trial));
        }
        match self.calls_left.checked_sub(1) {
            Some(left) => {
                self.calls_left = left;
                Ok(())
            }
            None => Err(exhausted(Limit::HostCalls)),
        }
    }

    /// To be called for every byte of the guest's that stays with the host after a call, and for
    /// what comes for the guest while it does something else.
    ///
    /// Fails once the host would hold more than it may for one invocation; the error ends the guest.
    pub fn hold(&self, bytes: usize) -> wasmtime::Result<Held> {
        Held::new(Arc::clone(&self.invocation), bytes)
    }

    /// The number of the next action. Each is used once, in the guest's order.
    pub fn next_sequence(&mut self) -> u64 {
        self.invocation.clock.advance();
        self.sequence += 1;
        self.sequence
    }

    /// To be called after a capability has waited for anything: the guest's
    /// clock, which stands still otherwise, moves to now.
    pub fn waited(&self) {
        self.invocation.clock.advance();
    }

    /// Who is told while the gate asks a person: all clocks of the invocation
    /// and its callers stand, and its row is written with the question.
    ///
    /// Take one for each check. Dropping it ends the wait, so a check that is
    /// dropped leaves no clock standing.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(Watch {
            invocation: Arc::clone(&self.invocation),
            approval: Mutex::new(None),
            rows: Mutex::default(),
        })
    }

    /// A call was refused without the gate. To be told for every refusal that
    /// the guest is told.
    pub fn refused(&self, refusal: &Refusal) {
        self.invocation.refused(refusal);
    }

    /// What the guest wanted to open was refused before it came to an action: the trail has it like
    /// a refusal of the gate. Says what to tell the guest, which is something else only if nothing
    /// can be recorded.
    ///
    /// A component that is only tried out leaves no record: nothing of it happens.
    pub fn not_opened(&self, capability: &str, target: &str, refusal: Refusal) -> Refusal {
        if let Some(rehearsal) = &self.rehearsal
            && !rehearsal.is_shadow()
        {
            self.refused(&refusal);
            return refusal;
        }
        let context = &*self.context;
        let event = Event::new(EventKind::ActionRefused)
            .principal(context.principal.as_str())
            .agent(context.agent.clone())
            .component(context.component)
            .invocation(context.invocation.to_string())
            .outcome(refusal.to_string())
            .detail(serde_json::json!({
                "capability": capability,
                "verb": "open",
                "target": target,
            }));
        let refusal = match self.services().audit.note(event) {
            Ok(()) => refusal,
            Err(error) => Refusal::Unavailable(error.to_string()),
        };
        self.refused(&refusal);
        refusal
    }

    /// What a call of a peer inherits.
    pub fn chain(&self) -> Chain {
        Chain::of(Arc::clone(&self.invocation))
    }

    /// What is known of the data that the guest has seen: the labels it was
    /// started with and those added since.
    pub fn labels(&self) -> BTreeSet<Label> {
        self.invocation.labels()
    }

    /// Adds to what is known of the data that the guest has seen. Can't be
    /// undone.
    pub fn add_labels(&self, labels: impl IntoIterator<Item = Label>) {
        self.invocation.add_labels(labels);
    }

    /// Something that can add labels while the guest runs on.
    pub fn labeller(&self) -> Labeller {
        Labeller(Arc::clone(&self.invocation))
    }

    /// The secrets that the invocation had put into requests: what the guest hands out is searched
    /// for them.
    pub fn watch(&self) -> &nexus_effects::Watch {
        &self.invocation.watch
    }

    /// Writes to the invocation's log; beyond its limit the message is dropped
    /// and counted.
    pub fn log(&self, level: Level, message: &str) {
        self.invocation.write_log(level, message);
    }

    /// Says how far the guest is. The fraction is brought between 0.0 and 1.0.
    pub fn progress(&self, fraction: f64, message: &str) {
        let fraction = if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        };
        let clean = self.watch().redact(message);
        let message = clean.as_deref().unwrap_or(message);
        let message = escape(&message[..message.floor_char_boundary(1 << 10)]);
        self.invocation.set_progress(Progress { fraction, message });
    }

    /// The error that ends the guest with
    /// [`Outcome::Refused`](crate::Outcome::Refused).
    pub fn refuse(refusal: Refusal) -> wasmtime::Error {
        wasmtime::Error::new(Stop::Refused(refusal))
    }

    /// The error that ends the guest with
    /// [`Outcome::HostFault`](crate::Outcome::HostFault). The message reaches
    /// callers, so it tells no internals.
    pub fn fault(message: impl Into<String>) -> wasmtime::Error {
        wasmtime::Error::new(Stop::Fault(message.into()))
    }

    pub(crate) fn wasi(&mut self) -> (&mut WasiCtx, &mut ResourceTable) {
        let Self {
            wasi,
            table,
            invocation,
            runtime,
            ..
        } = self;
        let wasi = wasi.get_or_insert_with(|| {
            Box::new(wasi::context(
                invocation,
                runtime.seed(&invocation.facts.id),
            ))
        });
        (wasi, table)
    }
}

/// Adds labels to an invocation from outside its store, for example when a
/// response arrives.
#[derive(Debug, Clone)]
pub struct Labeller(Arc<Invocation>);

impl Labeller {
    /// Adds to what is known of the data that the guest has seen.
    pub fn add(&self, labels: impl IntoIterator<Item = Label>) {
        self.0.add_labels(labels);
    }
}

/// Why a host function ended the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the gate ended the invocation: {0}")]
    Refused(Refusal),
    #[error("{0}")]
    Fault(String),
    #[error("the limit of {0} is used up")]
    Exhausted(Limit),
    #[error("a component may not call a capability before its first invocation")]
    Trial,
}

pub(crate) fn exhausted(limit: Limit) -> wasmtime::Error {
    wasmtime::Error::new(Stop::Exhausted(limit))
}

struct Watch {
    invocation: Arc<Invocation>,
    approval: Mutex<Option<ApprovalId>>,
    /// The rows that are written with the question.
    rows: Mutex<Vec<UnderWay>>,
}

impl Observer for Watch {
    fn waiting(&self, commit: &mut Commit, approval: &Approval) {
        let mut asked = self.approval.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.replace(approval.id).is_none() {
            self.invocation.wait_for(approval.id);
        }
        // The callers wait with it, so they are stored with it. One that has ended meanwhile, because it
        // was cancelled, says itself how.
        let mut rows = Vec::new();
        let mut waiting = Some(&self.invocation);
        while let Some(invocation) = waiting {
            if let Some(row) = invocation.begin_row() {
                stored::put(commit, invocation);
                rows.push(row);
            }
            waiting = invocation.parent();
        }
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    fn writing(&self) -> Option<Box<dyn Send>> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Box::new(std::mem::take(&mut *rows)))
    }

    fn asked(&self, approval: ApprovalId) {
        self.invocation.show_waiting(approval);
    }

    fn resumed(&self) {
        let asked = self
            .approval
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(approval) = asked {
            self.invocation.go_on(approval);
        }
    }

    fn refused(&self, refusal: &Refusal) {
        self.invocation.refused(refusal);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.resumed();
    }
}
