//! A host of the test's own, over a real store, audit, vault and gate.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nexus_audit::{Audit, SigningKey};
use nexus_effects::http::{Egress, EgressOptions};
use nexus_effects::memory::Memory;
use nexus_gate::{
    Action, ActionKind, EffectClass, Gate, Payload, Policy, Principal, RootOrigin, kind,
};
use nexus_manifest::AgentName;
use nexus_runtime::{
    Compiler, Generation, HostLimits, Invoke, Level, Options, Outcome, Publish, Running, Runtime,
    Services, State,
};
use nexus_store::{Blobs, Options as StoreOptions, RedbStore, Store};
use nexus_vault::{MasterKey, Vault};
use tempfile::TempDir;
use wasmtime::component::{ComponentType, Lift, Linker, ResourceType, Val};

use crate::faulty::Faulty;

/// A host in a directory of its own.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) services: Arc<Services>,
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) dir: Arc<TempDir>,
}

/// Asks a person for everything but reads.
const CAREFUL: &str = r#"
@id("asked")
permit (principal, action, resource) when { context.approvals >= 1 };
"#;

impl Host {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::open(Arc::new(TempDir::new().unwrap()), change).await
    }

    pub(crate) async fn open(dir: Arc<TempDir>, change: impl FnOnce(&mut Options)) -> Self {
        let path = dir.path();
        let faulty = Faulty::over(RedbStore::open(path, StoreOptions::default()).unwrap());
        let store: Arc<dyn Store> = faulty.clone();
        let key = SigningKey::load_or_create(path.join("audit.key")).unwrap();
        let audit = Audit::open(Arc::clone(&store), key).await.unwrap();
        let master = MasterKey::load_or_create(path.join("master.key")).unwrap();
        let vault = Vault::open(Arc::clone(&store), audit.clone(), master)
            .await
            .unwrap();
        let careful = Policy::parse(CAREFUL).unwrap();
        let gate = Gate::open(nexus_gate::Options {
            deadline: Duration::from_secs(3_600),
            ..nexus_gate::Options::new(Arc::clone(&store), audit.clone(), vault.clone(), careful)
        })
        .await
        .unwrap();
        let services = Arc::new(Services {
            store: Arc::clone(&store),
            blobs: Blobs::open(path.join("blobs")).unwrap(),
            audit: audit.clone(),
            vault: vault.clone(),
            gate,
            egress: Arc::new(Egress::new(EgressOptions::default()).unwrap()),
            memory: Memory::new(store, audit, vault),
        });
        let mut options = Options::new(path);
        options.slots = 64;
        options.compiler = Compiler::default().in_process();
        change(&mut options);
        let runtime = Runtime::open(options, Arc::clone(&services), link)
            .await
            .unwrap();
        Self {
            runtime,
            services,
            faulty,
            dir,
        }
    }

    /// Ends once the last task of this host has let go of the store.
    pub(crate) async fn close(self) -> Arc<TempDir> {
        let (closed, dir) = (self.faulty.closed(), Arc::clone(&self.dir));
        drop(self);
        closed.await;
        dir
    }

    /// What a restart finds.
    pub(crate) async fn again(self) -> Self {
        Self::open(self.close().await, |_| {}).await
    }

    pub(crate) async fn publish(&self, component: bytes::Bytes) -> Arc<Generation> {
        let prepared = self.runtime.prepare(component).await.unwrap();
        self.runtime
            .publish(prepared, Publish::by(me()))
            .await
            .unwrap()
    }

    pub(crate) async fn start(&self, agent: &str, input: &str) -> Running {
        self.runtime.invoke(call(agent, input)).await.unwrap()
    }

    pub(crate) async fn outcome(&self, agent: &str, input: &str) -> Outcome {
        (*self.start(agent, input).await.outcome().await).clone()
    }

    /// Publishes a component and runs it once.
    pub(crate) async fn run(&self, component: bytes::Bytes) -> Outcome {
        let generation = self.publish(component).await;
        self.outcome(generation.agent().as_str(), "null").await
    }
}

pub(crate) fn me() -> Principal {
    Principal::new("me")
}

pub(crate) fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

pub(crate) fn call(agent: &str, input: &str) -> Invoke {
    Invoke {
        agent: name(agent),
        input: input.to_owned(),
        principal: me(),
        root: RootOrigin::Interactive,
        chain: None,
        request_id: None,
        timeout: None,
    }
}

pub(crate) fn success(text: &str) -> Outcome {
    Outcome::Success(text.to_owned())
}

/// Limits that a test reaches quickly, however busy the machine is.
pub(crate) fn small(limits: &mut HostLimits) {
    limits.memory = 4 << 20;
    limits.host_calls = 1_000;
}

/// A limit that an endless loop reaches quickly.
pub(crate) fn hasty(limits: &mut HostLimits) {
    limits.cpu = Duration::from_millis(50);
}

/// Where the example that stands in for the host's binary is.
pub(crate) fn helper() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .and_then(|deps| deps.parent())
        .unwrap()
        .join("examples/compiler")
}

#[derive(ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the guest makes the values")]
enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// Calls the peer that the manifest's config names, and says how that ended.
async fn call_peer(state: &mut State) -> String {
    let peer = state.context().manifest.config["peer"].as_str().unwrap();
    let invoke = Invoke {
        chain: Some(state.chain()),
        ..call(peer, "null")
    };
    let runtime = state.runtime().clone();
    // The type of the future would contain itself.
    let invoked: Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(async move { runtime.invoke(invoke).await });
    match invoked.await {
        Ok(running) => running.outcome().await.as_str().to_owned(),
        Err(error) => error.to_string(),
    }
}

/// `log.write` that does what its message says, and `space.open` that asks a
/// person.
fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut log = linker.instance("nexus:agent/log@0.1.0")?;
    log.func_wrap_async("write", |mut store, (_, message): (LogLevel, String)| {
        Box::new(async move {
            let state = store.data_mut();
            state.host_call()?;
            match message.as_str() {
                "panic" => panic!("as asked"),
                "wait" => std::future::pending::<()>().await,
                "ask" => {
                    let said = call_peer(state).await;
                    state.log(Level::Info, &said);
                }
                _ => state.log(Level::Info, &message),
            }
            Ok(())
        })
    })?;
    let mut memory = linker.instance("nexus:agent/memory@0.1.0")?;
    memory.resource("space", ResourceType::host::<()>(), |_, _| Ok(()))?;
    memory.func_new_async("[static]space.open", |mut store, _, _, results| {
        Box::new(async move {
            let state = store.data_mut();
            state.host_call()?;
            let action = Action {
                kind: ActionKind::Effect,
                context: Arc::clone(state.context()),
                sequence: state.next_sequence(),
                capability: "memory",
                verb: "put".to_owned(),
                target: "notes/key".to_owned(),
                class: EffectClass::Internal,
                labels: state.labels(),
                payload: Payload::new(serde_json::json!({ "key": "key" })),
            };
            let (gate, observer) = (state.services().gate.clone(), state.observer());
            let check = async move { gate.check::<kind::MemoryWrite>(action, &*observer).await };
            let case = match nexus_runtime::aside(check).await {
                Ok(_) => "expired",
                Err(_) => "unattended",
            };
            results[0] = Val::Result(Err(Some(Box::new(Val::Variant(case.to_owned(), None)))));
            Ok(())
        })
    })?;
    Ok(())
}
