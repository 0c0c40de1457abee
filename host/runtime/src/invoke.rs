//! The way of a call: from an input to an outcome, with one fresh instance.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use nexus_gate::{Context, EffectClass, InvocationId, Label, Locked, Principal, RootOrigin};
use nexus_manifest::{AgentName, Digest, Violation};
use nexus_store::{Commit, CommitError, ReadError, now_ms};
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::chain::{Chain, ChainError};
use crate::generation::{Entry, Generation, Loaded};
use crate::invocation::{Facts, Invocation, InvocationState, Running};
use crate::judge::Ended;
use crate::limits::{HostLimits, Limit, Limiter};
use crate::meter::Tick;
use crate::outcome::Outcome;
use crate::prepare::blocking;
use crate::registry::Agent;
use crate::runtime::Runtime;
use crate::state::State;
use crate::stored;
use crate::texts::{check, checked, describe};

/// What to run.
#[derive(Debug, Clone)]
pub struct Invoke {
    /// The agent.
    pub agent: AgentName,
    /// Its input, a JSON text.
    pub input: String,
    /// On whose behalf. A call from a chain takes the caller's.
    pub principal: Principal,
    /// Where the call comes from. A call from a chain takes the caller's.
    pub root: RootOrigin,
    /// The caller, if it is an agent.
    pub chain: Option<Chain>,
    /// The caller's own name for this invocation: a repeated call finds it
    /// again for two days, even after a restart. Costs a durable commit.
    pub request_id: Option<String>,
    /// The most time on the clock, waiting for people excepted. Can only lower
    /// the limit of the agent.
    pub timeout: Option<Duration>,
}

impl Invoke {
    /// What a repeat of this request has in common with it.
    fn digest(&self) -> Digest {
        let timeout = self.timeout.map_or(0, |timeout| timeout.as_nanos());
        let head = format!("{}\n{}\n{timeout}\n", self.agent, self.root.as_str());
        Digest::of(&[head.as_bytes(), self.input.as_bytes()].concat())
    }
}

/// Why an invocation did not begin. Nothing of it has happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// There is no such agent.
    #[error("there is no agent `{0}`")]
    UnknownAgent(AgentName),
    /// The input is larger than an input may be.
    #[error("the input has {size} bytes; the limit is {limit}")]
    InputTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The input is no JSON, or does not fit the agent's schema.
    #[error("the input does not fit: {}", describe(.0))]
    InvalidInput(Vec<Violation>),
    /// As many invocations run as may.
    #[error("{limit} invocations {of} run or wait already, which is the limit")]
    Busy {
        /// How many may.
        limit: usize,
        /// Of what: one agent or the host.
        of: &'static str,
    },
    /// The caller may not call this peer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The emergency lock is engaged.
    #[error(transparent)]
    Locked(Locked),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
    /// The request id was used before, for another request.
    #[error("the request id `{0}` was used for another request")]
    RequestReused(String),
    /// The request id could not be looked up.
    #[error("look up the request id")]
    Read(#[source] ReadError),
    /// The request id could not be recorded.
    #[error("record the request id")]
    Record(#[source] CommitError),
}

/// The failure record of the interface `types`.
#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What is known of an input that came this way.
fn received(root: RootOrigin) -> BTreeSet<Label> {
    match root {
        // Written by whoever sent it, or by a model that may have read anything.
        RootOrigin::Ingest | RootOrigin::Mcp => [Label::Untrusted].into(),
        RootOrigin::Interactive | RootOrigin::Schedule => BTreeSet::new(),
    }
}

impl Runtime {
    /// Begins an invocation on the agent's current generation.
    ///
    /// It runs on a task of its own and ends on that generation, whatever
    /// happens to the agent and to the handle. The input is checked before
    /// anything is instantiated. Without a request id nothing is awaited.
    pub async fn invoke(&self, invoke: Invoke) -> Result<Running, InvokeError> {
        let inner = &self.0;
        if inner.draining.load(Ordering::Acquire) {
            return Err(InvokeError::Stopping);
        }
        let lock = inner.services.gate.lock();
        lock.check().map_err(InvokeError::Locked)?;
        let limits = self.limits();
        if invoke.input.len() > limits.input_bytes {
            return Err(InvokeError::InputTooLarge {
                size: invoke.input.len(),
                limit: limits.input_bytes,
            });
        }
        // What was begun is found again, whatever has become of the agent.
        if let Some(request) = &invoke.request_id
            && let Some(running) = self.by_request(&invoke, request).await?
        {
            return Ok(running);
        }
        let Some(agent) = inner.registry.agent(&invoke.agent) else {
            return Err(InvokeError::UnknownAgent(invoke.agent));
        };
        let generation = agent.current();
        check(generation.manifest.input.as_ref(), &invoke.input)
            .map_err(InvokeError::InvalidInput)?;
        if let Some(chain) = &invoke.chain {
            chain.admit(&invoke.agent, &generation.digest, limits)?;
        }
        let seat = Seat::take(self, agent)?;
        if invoke.request_id.is_none() {
            return Self::begin(invoke, generation, seat).await;
        }
        // What is recorded is also run, though the caller leaves meanwhile.
        match tokio::spawn(Self::begin(invoke, generation, seat)).await {
            Ok(begun) => begun,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(InvokeError::Stopping),
            },
        }
    }

    /// Starts an admitted invocation, recorded first if it has a request id.
    async fn begin(
        invoke: Invoke,
        generation: Arc<Generation>,
        seat: Seat,
    ) -> Result<Running, InvokeError> {
        let inner = &seat.runtime.0;
        let again = invoke.request_id.is_some().then(|| invoke.clone());
        let (chain, chain_class, principal, root, labels) = match &invoke.chain {
            Some(chain) => {
                let facts = &chain.caller.facts;
                (
                    chain.callers(),
                    chain.class,
                    facts.principal.clone(),
                    facts.root,
                    chain.caller.labels(),
                )
            }
            None => (
                Vec::new(),
                EffectClass::Read,
                invoke.principal,
                invoke.root,
                received(invoke.root),
            ),
        };
        let facts = Facts {
            id: InvocationId::new(),
            agent: invoke.agent,
            component: generation.digest,
            generation: generation.number,
            principal,
            root,
            chain,
            chain_class,
            request_id: invoke.request_id,
        };
        let context = Context {
            agent: facts.agent.clone(),
            component: facts.component,
            manifest: Arc::clone(&generation.manifest),
            principal: facts.principal.clone(),
            invocation: facts.id,
            root,
            chain: facts.chain.clone(),
            chain_class,
            reviewed: generation.reviewed,
            shadow: false,
            labels: labels.clone(),
        };
        let parent = invoke.chain.map(|chain| chain.caller);
        let mut limits = Cow::Borrowed(&generation.loaded.limits);
        if let Some(timeout) = invoke.timeout {
            limits.to_mut().wall = timeout.min(limits.wall);
        }
        let invocation = Invocation::new(facts, &limits, labels, parent);
        inner.live.insert(Arc::clone(&invocation));
        // Whoever engaged the lock either has ended this one among all that live, or is seen here.
        if let Err(locked) = inner.services.gate.lock().check() {
            inner.live.forget(&invocation);
            return Err(InvokeError::Locked(locked));
        }
        if let (Some(request), Some(again)) = (&invocation.facts.request_id, &again) {
            let mut commit = Commit::new();
            stored::put_request(&mut commit, &invocation, request, again.digest());
            if let Err(error) = inner.services.store.commit(commit).await {
                inner.live.forget(&invocation);
                // Another call with the same id was faster.
                return match (&error, seat.runtime.by_request(again, request).await?) {
                    (CommitError::Conflict { .. }, Some(running)) => Ok(running),
                    _ => Err(InvokeError::Record(error)),
                };
            }
        }
        let running = Running(Arc::clone(&invocation));
        // Nobody may be watching; that is no error.
        let _ = inner.begun.send(running.clone());
        tokio::spawn(Self::run(
            generation,
            invocation,
            context,
            invoke.input,
            seat,
        ));
        Ok(running)
    }

    /// The invocation that this very request has begun before.
    async fn by_request(
        &self,
        invoke: &Invoke,
        request: &str,
    ) -> Result<Option<Running>, InvokeError> {
        let store = &*self.0.services.store;
        let found = stored::by_request(store, invoke.principal.as_str(), request).await;
        let Some(found) = found.map_err(InvokeError::Read)? else {
            return Ok(None);
        };
        if found.digest != invoke.digest() {
            return Err(InvokeError::RequestReused(request.to_owned()));
        }
        let id = found.invocation;
        if let Some(running) = self.running_invocation(&id) {
            return Ok(Some(running));
        }
        let record = stored::get(self, &id).await.map_err(InvokeError::Read)?;
        Ok(record.map(|record| Running(Invocation::ended(record, self.limits()))))
    }

    /// The life of one invocation.
    async fn run(
        generation: Arc<Generation>,
        invocation: Arc<Invocation>,
        context: Context,
        input: String,
        mut seat: Seat,
    ) {
        let loaded = &generation.loaded;
        let state = State::new(
            seat.runtime.clone(),
            Arc::clone(&invocation),
            Arc::new(context),
            &loaded.limits,
            false,
        );
        let runtime = &seat.runtime;
        let outcome = runtime
            .guarded(&invocation, runtime.run_guest(loaded, state, Some(input)))
            .await;
        let outcome = outcome.cleaned(&invocation.watch).await;
        let outcome = checked(outcome, generation.manifest.output.as_ref(), &loaded.limits);
        // A question may still be on its way to the disk, and with it a row that says it goes on.
        invocation.close_rows().await;
        if invocation.is_stored() {
            runtime.store_end(&invocation, &outcome).await;
        }
        let weight = outcome.weight();
        // Whoever hears of the end may call again at once.
        seat.leave_agent();
        invocation.finish(outcome);
        seat.runtime.0.live.ended(&invocation, weight);
    }

    async fn store_end(&self, invocation: &Invocation, outcome: &Outcome) {
        let mut record = invocation.record();
        record.state = state_of(outcome);
        record.ended_ms = Some(now_ms());
        record.outcome = Some(outcome.clone());
        record.approvals.clear();
        let mut commit = Commit::new();
        stored::put_final(&mut commit, self, record);
        if let Err(error) = self.0.services.store.commit(commit).await {
            // Its effects are in the audit trail; only this row will say
            // "interrupted" after a restart.
            tracing::error!(%error, invocation = %invocation.facts.id, "the end is not recorded");
        }
    }

    /// Runs a guest until it ends, is cancelled or has no time left. A panic in
    /// a host function ends this guest only.
    pub(crate) async fn guarded(
        &self,
        invocation: &Invocation,
        guest: impl Future<Output = Ended>,
    ) -> Outcome {
        let mut guest = std::pin::pin!(AssertUnwindSafe(guest).catch_unwind());
        // The guest is asked first: most end before they wait for anything, and
        // then neither of the others has cost more than a branch.
        tokio::select! {
            biased;
            ended = invocation.meter.measure(guest.as_mut()) => match ended {
                Ok(ended) => ended.judge(invocation),
                Err(_) => {
                    tracing::error!(invocation = %invocation.facts.id, "a host function panicked");
                    Outcome::HostFault { message: "a host function failed; the host's log says more".to_owned() }
                }
            },
            reason = invocation.cancellation() => Outcome::Cancelled { reason },
            () = invocation.deadline.passed() => Outcome::Exhausted {
                limit: Limit::Wall,
                message: format!("the limit of {} is used up", Limit::Wall),
            },
        }
    }

    /// An outcome as a caller would get it.
    pub(crate) fn judged(
        &self,
        outcome: Outcome,
        manifest: &nexus_manifest::Manifest,
        limits: &HostLimits,
    ) -> Outcome {
        checked(outcome, manifest.output.as_ref(), limits)
    }

    /// Instantiates a component and, if there is an input, calls its handler.
    pub(crate) async fn run_guest(
        &self,
        loaded: &Loaded,
        state: State,
        input: Option<String>,
    ) -> Ended {
        let mut entry = loaded.here();
        let mut store = self.instance_store(entry.pre.engine(), state, &loaded.limits);
        let mut instance = entry.pre.instantiate_async(&mut store).await;
        if let Err(error) = &instance
            && error.is::<PoolConcurrencyLimitError>()
        {
            entry = match self.fallback(loaded).await {
                Ok(entry) => entry,
                Err(error) => return Ended::broken(error, &store),
            };
            let mut state = store.into_data();
            state.limiter = Limiter::new(&loaded.limits);
            store = self.instance_store(&self.0.engines.on_demand, state, &loaded.limits);
            instance = entry.pre.instantiate_async(&mut store).await;
        }
        let instance = match instance {
            Ok(instance) => instance,
            Err(error) => return Ended::broken(error, &store),
        };
        let handler = instance
            .get_typed_func::<(&str,), (Result<String, Failure>,)>(&mut store, &entry.invoke);
        let answer = match (handler, &input) {
            (Ok(handler), Some(input)) => handler.call_async(&mut store, (input.as_str(),)).await,
            (Ok(_), None) => Ok((Ok(String::new()),)),
            (Err(error), _) => Err(error),
        };
        match answer {
            Ok((answer,)) => Ended::Answered(answer),
            Err(error) => Ended::broken(error, &store),
        }
    }

    /// A store with all its limits.
    fn instance_store(&self, engine: &Engine, state: State, limits: &HostLimits) -> Store<State> {
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.host_call_bytes);
        store.set_max_component_handles(limits.handles);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            Ok(match state.invocation.meter.tick() {
                Tick::Exhausted => UpdateDeadline::Interrupt,
                // wasmtime's own yield wakes at once and keeps the worker from
                // its other work; tokio's waits behind it.
                Tick::Yield => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
                Tick::Share => {
                    let invocation = Arc::clone(&state.invocation);
                    let turns = Arc::clone(&state.runtime().0.turns);
                    let share = async move { invocation.meter.share(turns).await };
                    UpdateDeadline::YieldCustom(1, Box::pin(share))
                }
            })
        });
        store
    }

    /// The component on the engine without a pool.
    async fn fallback<'a>(&self, loaded: &'a Loaded) -> wasmtime::Result<&'a Entry> {
        loaded
            .fallback
            .get_or_try_init(|| async {
                let (runtime, code) = (self.clone(), loaded.code);
                let artifact = blocking(move || runtime.0.cache.get(&code)).await;
                let artifact =
                    artifact.ok_or_else(|| State::fault("no free slot for an instance"))?;
                let component = artifact.load(&self.0.engines.on_demand)?;
                Entry::new(&self.0.fallback_linker, &component, &loaded.handler)
            })
            .await
    }
}

fn state_of(outcome: &Outcome) -> InvocationState {
    match outcome {
        Outcome::Success(_) => InvocationState::Succeeded,
        Outcome::Cancelled { .. } => InvocationState::Cancelled,
        _ => InvocationState::Failed,
    }
}

/// A place among the running invocations of the host and of one agent. Dropping
/// it gives back both.
struct Seat {
    runtime: Runtime,
    agent: Option<Arc<Agent>>,
}

impl Seat {
    fn take(runtime: &Runtime, agent: Arc<Agent>) -> Result<Self, InvokeError> {
        let limits = runtime.limits();
        if !runtime.0.live.admit(limits.concurrent) {
            return Err(InvokeError::Busy {
                limit: limits.concurrent,
                of: "of this host",
            });
        }
        let mut seat = Self {
            runtime: runtime.clone(),
            agent: None,
        };
        if !agent.admit(limits.concurrent_per_agent) {
            return Err(InvokeError::Busy {
                limit: limits.concurrent_per_agent,
                of: "of this agent",
            });
        }
        seat.agent = Some(agent);
        Ok(seat)
    }

    fn leave_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.leave();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave_agent();
        self.runtime.0.live.leave();
    }
}
