//! Forges as resources: what each has told, kept so that it can be asked for again.
//!
//! A forge is written down before it begins, and each of its events before anybody is told of it:
//! what a client has seen it finds again, after a crash too. Forges that a dead host left running are
//! ended at the next start, as succeeded where their agent was published and as interrupted
//! otherwise.

mod live;
mod recover;
mod rows;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use nexus_forge::{Forge, ForgeId, OverBudget, Request};
use nexus_manifest::{AgentName, Digest};
use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_runtime::{Generation, Runtime};
use nexus_store::{Commit, CommitError, Store};

pub(crate) use self::live::Live;
pub(crate) use self::recover::OpenError;
pub(crate) use self::rows::RowError;
use crate::{convert, names};

/// Events that are written in one transaction.
const BATCH: usize = 64;
/// How many forges end before old ones are looked for.
const BETWEEN_PRUNES: u32 = 32;

/// The forges of this host. A handle; clones share all of it.
#[derive(Clone)]
pub(crate) struct Forges(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    runtime: Runtime,
    forge: Forge,
    running: Mutex<HashMap<ForgeId, Arc<Live>>>,
    /// Held while it is looked whether a forge has to begin.
    ensuring: tokio::sync::Mutex<()>,
    ended: AtomicU32,
}

/// What there is of an agent that has to be there.
pub(crate) enum Ensured {
    /// It is live.
    There(Arc<Generation>),
    /// This forge makes it.
    Forged(Arc<Live>),
}

/// Why a forge does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// Its principal has forged enough for now.
    #[error(transparent)]
    OverBudget(OverBudget),
    /// It can't be written down.
    #[error("write down a forge")]
    Commit(#[source] CommitError),
}

impl Forges {
    /// Ends what a dead host left running, forgets what is old, and is ready.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        runtime: Runtime,
        forge: Forge,
    ) -> Result<Self, OpenError> {
        recover::recover(&*store, &runtime, &forge).await?;
        rows::prune(&*store).await.map_err(OpenError::Rows)?;
        Ok(Self(Arc::new(Inner {
            store,
            runtime,
            forge,
            running: Mutex::default(),
            ensuring: tokio::sync::Mutex::default(),
            ended: AtomicU32::new(0),
        })))
    }

    /// Begins a forge, which counts against what its principal may forge in an hour. It runs to its
    /// end whoever listens. Not cancel-safe.
    pub(crate) async fn begin(&self, request: Request) -> Result<Arc<Live>, BeginError> {
        let id = ForgeId::new();
        let record = record(id, &request);
        let inner = &self.0;
        let mut commit = Commit::new();
        let admitted = inner.forge.admit(&request, &mut commit);
        admitted.map_err(BeginError::OverBudget)?;
        rows::put(&mut commit, id, &record, &[]);
        let written = inner.store.commit(commit).await;
        written.map_err(BeginError::Commit)?;
        let started = inner.forge.forge_as(id, request);
        let live = Arc::new(Live::new(id, record, started.stop));
        self.running().insert(id, Arc::clone(&live));
        let (this, keeping) = (self.clone(), Arc::clone(&live));
        tokio::spawn(async move { this.keep(&keeping, started.events).await });
        Ok(live)
    }

    /// The live agent, or the one forge that makes it: one that runs, or a new one. Not cancel-safe.
    pub(crate) async fn ensure(&self, request: Request) -> Result<Ensured, BeginError> {
        let _ensuring = self.0.ensuring.lock().await;
        let there = || self.0.runtime.get(&request.agent);
        if let Some(generation) = there() {
            return Ok(Ensured::There(generation));
        }
        if let Some(live) = self.making(&request.agent) {
            return Ok(Ensured::Forged(live));
        }
        // One that ended between the two looks has left its agent.
        if let Some(generation) = there() {
            return Ok(Ensured::There(generation));
        }
        self.begin(request).await.map(Ensured::Forged)
    }

    /// The forge that runs under this id.
    pub(crate) fn running_forge(&self, id: ForgeId) -> Option<Arc<Live>> {
        self.running().get(&id).cloned()
    }

    /// One forge, however it stands.
    pub(crate) async fn get(&self, id: ForgeId) -> Result<Option<v1::Forge>, RowError> {
        match self.running_forge(id) {
            Some(live) => Ok(Some(live.forge())),
            None => rows::read(&*self.0.store, id).await,
        }
    }

    /// The events of a forge that has ended, from the one after `after` on.
    pub(crate) async fn events(
        &self,
        id: ForgeId,
        after: u64,
    ) -> Result<Vec<v1::ForgeEvent>, RowError> {
        rows::events(&*self.0.store, id, after).await
    }

    /// Forges that `wanted` wants, the newest first, from the one after `after` on.
    pub(crate) async fn list(
        &self,
        after: Option<ForgeId>,
        limit: usize,
        wanted: impl Fn(&v1::Forge) -> bool,
    ) -> Result<Vec<v1::Forge>, RowError> {
        rows::list(&*self.0.store, after, limit, wanted).await
    }

    /// The newest forge that may still publish this agent.
    fn making(&self, agent: &AgentName) -> Option<Arc<Live>> {
        let name = names::of_agent(agent);
        let running = self.running();
        let making = running.values().filter(|live| {
            let forge = live.forge();
            forge.agent == name && !forge.validate_only && !live.has_ended()
        });
        making.max_by_key(|live| live.id).cloned()
    }

    /// Writes down what a forge tells, and then lets it be known.
    async fn keep(&self, live: &Live, events: nexus_forge::Events) {
        let store = &*self.0.store;
        let mut batches = events.ready_chunks(BATCH);
        let mut kept = true;
        while let Some(batch) = batches.next().await {
            kept = live.tell(store, &batch).await;
        }
        if !live.has_ended() {
            // The forge has panicked; its panic is in the log.
            kept = live.tell_failed(store).await;
        }
        if kept {
            self.running().remove(&live.id);
        }
        let ended = self.0.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended.is_multiple_of(BETWEEN_PRUNES)
            && let Err(error) = rows::prune(store).await
        {
            tracing::warn!(%error, "old forges are not forgotten");
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<ForgeId, Arc<Live>>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// `forges/{forge}`.
pub(crate) fn name(id: ForgeId) -> String {
    format!("forges/{id}")
}

/// A forge that begins.
fn record(id: ForgeId, request: &Request) -> v1::Forge {
    let template = match &request.mode {
        nexus_forge::Mode::Template { template, .. } => template.clone(),
        _ => None,
    };
    v1::Forge {
        name: name(id),
        agent: names::of_agent(&request.agent),
        state: State::Running.into(),
        mode: convert::forge_mode(request.mode.as_str()).into(),
        template: template.unwrap_or_default(),
        prompt_digest: Digest::of(request.words.as_bytes()).to_string(),
        validate_only: request.validate_only,
        principal: request.principal.to_string(),
        create_time: Some(convert::now()),
        end_time: None,
        last_event: None,
    }
}
