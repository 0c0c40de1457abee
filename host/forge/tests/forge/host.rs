//! A host of the test's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use nexus_audit::{Audit, SigningKey};
use nexus_effects::http::{Egress, EgressOptions};
use nexus_effects::memory::Memory;
use nexus_forge::build::Builder;
use nexus_forge::{Detail, Event, Forge, Mode, ModelConfig, Options, Request, StageState};
use nexus_gate::{Gate, Policy, Principal, RootOrigin};
use nexus_runtime::{Compiler, Invoke, Outcome, Runtime, Services};
use nexus_store::{Blobs, RedbStore, Store};
use nexus_vault::{MasterKey, Vault};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub(crate) struct Host {
    pub(crate) forge: Forge,
    pub(crate) runtime: Runtime,
    pub(crate) gate: Gate,
    directory: TempDir,
}

pub(crate) fn anna() -> Principal {
    Principal::new("anna")
}

/// Prepares the libraries once for all hosts of this binary.
async fn libraries() -> PathBuf {
    static PREPARED: OnceCell<TempDir> = OnceCell::const_new();
    let prepared = PREPARED
        .get_or_init(async || {
            let directory = TempDir::new().unwrap();
            let options = nexus_forge::build::Options::new(directory.path());
            Builder::open(options).unwrap().warm().await.unwrap();
            directory
        })
        .await;
    prepared.path().join("libraries")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

impl Host {
    pub(crate) async fn open(model: Option<ModelConfig>) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let store: Arc<dyn Store> = RedbStore::open(path, nexus_store::Options::default()).unwrap();
        let key = SigningKey::load_or_create(path.join("audit.key")).unwrap();
        let audit = Audit::open(store.clone(), key).await.unwrap();
        let master = MasterKey::load_or_create(path.join("vault.key")).unwrap();
        let vault = Vault::open(store.clone(), audit.clone(), master)
            .await
            .unwrap();
        let options = nexus_gate::Options::new(
            store.clone(),
            audit.clone(),
            vault.clone(),
            Policy::shipped(),
        );
        let gate = Gate::open(options).await.unwrap();
        let services = Arc::new(Services {
            store: store.clone(),
            blobs: Blobs::open(path.join("blobs")).unwrap(),
            audit: audit.clone(),
            vault: vault.clone(),
            gate: gate.clone(),
            egress: Arc::new(Egress::new(EgressOptions::default()).unwrap()),
            memory: Memory::new(store, audit, vault),
        });
        let options = nexus_runtime::Options {
            slots: 16,
            compiler: Compiler::default().in_process(),
            ..nexus_runtime::Options::new(path)
        };
        let runtime = Runtime::open(options, services, nexus_capabilities::link)
            .await
            .unwrap();
        copy(&libraries().await, &path.join("forge/libraries"));
        let options = Options {
            model,
            precompile_templates: false,
            helper: Some(env!("CARGO_BIN_EXE_nexus-forge-helper").into()),
            ..Options::new(path.join("forge"))
        };
        let forge = Forge::open(options, runtime.clone()).await.unwrap();
        Self {
            forge,
            runtime,
            gate,
            directory,
        }
    }

    pub(crate) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Forges to the end.
    pub(crate) async fn forge(&self, request: Request) -> Vec<Event> {
        self.forge.forge(request).events.collect().await
    }

    pub(crate) async fn invoke(&self, agent: &str, input: &str) -> Arc<Outcome> {
        let invoke = Invoke {
            agent: agent.parse().unwrap(),
            input: input.to_owned(),
            principal: anna(),
            root: RootOrigin::Interactive,
            chain: None,
            request_id: None,
            timeout: None,
        };
        self.runtime.invoke(invoke).await.unwrap().outcome().await
    }
}

pub(crate) fn request(agent: &str, words: &str, mode: Mode) -> Request {
    Request {
        agent: agent.parse().unwrap(),
        words: words.to_owned(),
        mode,
        builder: None,
        inputs: Vec::new(),
        examples: Vec::new(),
        validate_only: false,
        shadow: Vec::new(),
        root: RootOrigin::Interactive,
        principal: anna(),
        decides: true,
    }
}

pub(crate) fn template(name: &str, set: &[(&str, &str)]) -> Mode {
    let set: BTreeMap<String, String> = set
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Mode::Template {
        template: Some(name.to_owned()),
        set,
    }
}

/// How a forge ended.
pub(crate) fn last(events: &[Event]) -> (StageState, &Detail) {
    let event = events.last().unwrap();
    (event.state, event.detail.as_ref().unwrap())
}
