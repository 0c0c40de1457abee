//! A host of the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use nexus_audit::{Audit, SigningKey};
use nexus_effects::http::{Egress, EgressOptions};
use nexus_effects::memory::Memory;
use nexus_forge::{Detail, Event, Forge, Mode, ModelConfig, Options, Request, StageState};
use nexus_gate::{Gate, Policy, Principal, RootOrigin};
use nexus_runtime::{Compiler, Invoke, Outcome, Runtime, Services};
use nexus_store::{Blobs, RedbStore, Store};
use nexus_vault::{MasterKey, Vault};
use tempfile::TempDir;

pub(crate) struct Host {
    pub(crate) forge: Forge,
    pub(crate) runtime: Runtime,
    pub(crate) gate: Gate,
    _directory: TempDir,
}

pub(crate) fn anna() -> Principal {
    Principal::new("anna")
}

impl Host {
    pub(crate) async fn open(model: Option<ModelConfig>) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let store: Arc<dyn Store> = RedbStore::open(path, nexus_store::Options::default()).unwrap();
        let key = SigningKey::load_or_create(path.join("audit.key")).unwrap();
        let audit = Audit::open(store.clone(), key).await.unwrap();
        let master = MasterKey::load_or_create(path.join("vault.key")).unwrap();
        let vault = Vault::open(store.clone(), audit.clone(), master).await.unwrap();
        let options = nexus_gate::Options::new(store.clone(), audit.clone(), vault.clone(), Policy::shipped());
        let gate = Gate::open(options).await.unwrap();
        let services = Arc::new(Services {
            store: store.clone(),
            blobs: Blobs::open(path.join("blobs")).unwrap(),
            audit: audit.clone(),
            vault,
            gate: gate.clone(),
            egress: Arc::new(Egress::new(EgressOptions::default()).unwrap()),
            memory: Memory::new(store, audit),
        });
        let options = nexus_runtime::Options {
            slots: 16,
            compiler: Compiler::default().in_process(),
            ..nexus_runtime::Options::new(path)
        };
        let runtime = Runtime::open(options, services, nexus_capabilities::link).await.unwrap();
        let options = Options {
            model,
            helper: Some(env!("CARGO_BIN_EXE_nexus-forge-helper").into()),
            ..Options::new(path.join("forge"))
        };
        let forge = Forge::open(options, runtime.clone()).await.unwrap();
        Self { forge, runtime, gate, _directory: directory }
    }

    /// Forges to the end.
    pub(crate) async fn forge(&self, request: Request) -> Vec<Event> {
        self.forge.forge(request).collect().await
    }

    pub(crate) async fn invoke(&self, agent: &str, input: &str) -> Arc<Outcome> {
        let invoke = Invoke {
            agent: agent.parse().unwrap(),
            input: input.to_owned(),
            principal: anna(),
            root: RootOrigin::Interactive,
            chain: None,
            request_id: None,
        };
        self.runtime.invoke(invoke).await.unwrap().outcome().await
    }
}

pub(crate) fn request(agent: &str, words: &str, mode: Mode) -> Request {
    Request {
        agent: agent.parse().unwrap(),
        words: words.to_owned(),
        mode,
        inputs: Vec::new(),
        validate_only: false,
        principal: anna(),
    }
}

pub(crate) fn template(name: &str, set: &[(&str, &str)]) -> Mode {
    let set: BTreeMap<String, String> =
        set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Mode::Template { template: Some(name.to_owned()), set }
}

/// How a forge ended.
pub(crate) fn last(events: &[Event]) -> (StageState, &Detail) {
    let event = events.last().unwrap();
    (event.state, event.detail.as_ref().unwrap())
}
