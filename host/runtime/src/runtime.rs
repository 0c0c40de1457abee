//! The runtime as one cheap handle, and how it starts and stops.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use nexus_audit::Audit;
use nexus_effects::http::Egress;
use nexus_effects::memory::Memory;
use nexus_gate::{Gate, InvocationId};
use nexus_manifest::Digest;
use nexus_store::{Blobs, ReadError, Store};
use nexus_vault::Vault;
use sha2::Sha256;
use tokio::sync::{Semaphore, broadcast};
use wasmtime::component::Linker;

use crate::cache::{Cache, load_or_create_key};
use crate::compile::Compiler;
use crate::engine::{self, Engines};
use crate::invocation::{Invocation, InvocationState, Record, Running};
use crate::limits::HostLimits;
use crate::live::Live;
use crate::registry::{AgentChange, Registry};
use crate::state::State;
use crate::stored::{self, RecoverError};
use crate::wasi;

/// What capabilities work with.
pub struct Services {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// Components, by content.
    pub blobs: Blobs,
    /// The audit trail.
    pub audit: Audit,
    /// The secrets.
    pub vault: Vault,
    /// What may happen.
    pub gate: Gate,
    /// The only way out.
    pub egress: Arc<Egress>,
    /// The memory spaces.
    pub memory: Memory,
}

/// How a runtime is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where artifacts and keys are kept.
    pub data_dir: PathBuf,
    /// Instances that find a prepared slot, at most 8,000. More than that run
    /// too, but start slower.
    pub slots: u32,
    /// What an invocation may use up.
    pub limits: HostLimits,
    /// How components are compiled.
    pub compiler: Compiler,
    /// Generations of an agent that can be rolled back to.
    pub kept_generations: usize,
}

impl Options {
    /// 1,000 slots, the default limits and compiler, five generations.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            slots: 1_000,
            limits: HostLimits::default(),
            compiler: Compiler::default(),
            kept_generations: 5,
        }
    }
}

/// Why a runtime does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The engine refuses its configuration.
    #[error("set up the WebAssembly engine: {0:#}")]
    Engine(wasmtime::Error),
    /// A capability does not link.
    #[error("link the capabilities: {0:#}")]
    Link(wasmtime::Error),
    /// The data directory can't be used.
    #[error("use {}", .path.display())]
    Directory {
        /// What was to be used.
        path: PathBuf,
        /// Why it can't.
        #[source]
        source: std::io::Error,
    },
    /// The agents can't be read.
    #[error("read the agents")]
    Read(#[source] ReadError),
    /// What a dead process left running can't be closed.
    #[error("close the invocations that the last process left: {0}")]
    Recover(String),
}

/// The runtime. A handle: clones are cheap and share everything.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) services: Arc<Services>,
    pub(crate) options: Options,
    pub(crate) engines: Engines,
    pub(crate) linkers: Linkers,
    pub(crate) fallback_linker: Linker<State>,
    pub(crate) cache: Cache,
    /// Machine code that outlives the agents that use it.
    pub(crate) kept_code: Mutex<HashSet<Digest>>,
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    /// One turn fewer than workers, for guests that compute for long.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) draining: AtomicBool,
    /// Each invocation, as it begins.
    pub(crate) begun: broadcast::Sender<Running>,
    seed_key: [u8; 64],
}

/// What components are linked with, for each pool.
pub(crate) struct Linkers {
    first: Linker<State>,
    others: Vec<Linker<State>>,
}

impl Linkers {
    pub(crate) fn first(&self) -> &Linker<State> {
        &self.first
    }

    pub(crate) fn others(&self) -> std::slice::Iter<'_, Linker<State>> {
        self.others.iter()
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Opens the runtime in a data directory: closes what a dead process left
    /// running as interrupted, and loads every agent's current generation.
    ///
    /// `link` adds the capabilities to a linker; it is called once for each of
    /// the engines. An agent that can't be loaded does not stop the others:
    /// see [`Runtime::broken`]. To be called on the runtime that will run the
    /// guests.
    pub async fn open(
        options: Options,
        services: Arc<Services>,
        link: fn(&mut Linker<State>) -> wasmtime::Result<()>,
    ) -> Result<Self, OpenError> {
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        let engines = Engines::new(options.slots, workers).map_err(OpenError::Engine)?;
        let linker = |engine| {
            let mut linker = Linker::new(engine);
            wasi::link(&mut linker)?;
            link(&mut linker)?;
            Ok(linker)
        };
        let (first, others) = engines.pools();
        let others: wasmtime::Result<Vec<_>> = others.iter().map(linker).collect();
        let linkers = Linkers {
            first: linker(first).map_err(OpenError::Link)?,
            others: others.map_err(OpenError::Link)?,
        };
        let fallback_linker = linker(&engines.on_demand).map_err(OpenError::Link)?;

        let artifacts = options.data_dir.join("artifacts");
        let cache = Cache::open(artifacts.clone(), engine::fingerprint(&engines.on_demand))
            .map_err(|source| OpenError::Directory {
                path: artifacts,
                source,
            })?;
        let seed_path = options.data_dir.join("seed.key");
        let seed_key = load_or_create_key(&seed_path).map_err(|source| OpenError::Directory {
            path: seed_path,
            source,
        })?;

        let runtime = Self(Arc::new(Inner {
            registry: Registry::new(),
            live: Live::new(),
            turns: Arc::new(Semaphore::new(workers.saturating_sub(1).max(1))),
            draining: AtomicBool::new(false),
            begun: broadcast::channel(256).0,
            services,
            options,
            engines,
            linkers,
            fallback_linker,
            cache,
            kept_code: Mutex::default(),
            seed_key,
        }));
        let interrupted = stored::interrupt_open(&runtime).await.map_err(|error| {
            OpenError::Recover(match &error {
                RecoverError::Read(source) => format!("{error}: {source}"),
                RecoverError::Commit(source) => format!("{error}: {source}"),
            })
        })?;
        if interrupted > 0 {
            tracing::info!(
                interrupted,
                "closed the invocations that the last process left"
            );
        }
        runtime.load_all().await.map_err(OpenError::Read)?;
        Ok(runtime)
    }

    /// What capabilities work with.
    pub fn services(&self) -> &Arc<Services> {
        &self.0.services
    }

    /// The host's limits.
    pub fn limits(&self) -> &HostLimits {
        &self.0.options.limits
    }

    /// Changes of agents from now on.
    pub fn watch(&self) -> broadcast::Receiver<AgentChange> {
        self.0.registry.watch()
    }

    /// Invocations that begin from now on.
    pub fn watch_invocations(&self) -> broadcast::Receiver<Running> {
        self.0.begun.subscribe()
    }

    /// How many invocations run or wait.
    pub fn running(&self) -> usize {
        self.0.live.running()
    }

    /// How many of those wait for a person.
    pub fn waiting(&self) -> usize {
        let waits = |invocation: &Arc<Invocation>| invocation.state() == InvocationState::Waiting;
        self.0
            .live
            .all()
            .iter()
            .filter(|invocation| waits(invocation))
            .count()
    }

    /// A handle to an invocation in memory: one that runs, or one of the last
    /// thousand or so that ended.
    pub fn running_invocation(&self, id: &InvocationId) -> Option<Running> {
        self.0.live.get(id).map(Running)
    }

    /// All that is known of an invocation: from memory, or from the store if it
    /// was stored.
    pub async fn invocation(&self, id: &InvocationId) -> Result<Option<Record>, ReadError> {
        match self.0.live.get(id) {
            Some(invocation) => Ok(Some(invocation.record())),
            None => stored::get(self, id).await,
        }
    }

    /// Asks every invocation to end, and says why.
    pub fn cancel_all(&self, reason: &str) {
        for invocation in self.0.live.all() {
            invocation.cancel(reason);
        }
    }

    /// Takes no more invocations, gives those that run until `grace` has
    /// passed, then ends them. Those that wait for a person end at once: nobody
    /// can reach a stopping host to decide. Returns when none is left.
    pub async fn drain(&self, grace: Duration) {
        self.0.draining.store(true, Ordering::Release);
        for invocation in self.0.live.all() {
            if invocation.state() == InvocationState::Waiting {
                invocation.cancel("the host is stopping");
            }
        }
        if tokio::time::timeout(grace, self.0.live.idle())
            .await
            .is_err()
        {
            self.cancel_all("the host is stopping");
            self.0.live.idle().await;
        }
    }

    /// The seed of an invocation's random numbers. The same invocation gets the
    /// same numbers again; nobody without the host's key can tell them.
    pub(crate) fn seed(&self, id: &InvocationId) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(&self.0.seed_key.into());
        mac.update(id.to_string().as_bytes());
        mac.finalize().into_bytes().into()
    }
}
