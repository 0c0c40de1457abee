//! A gate that permits everything, and agents to ask it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use nexus_audit::{Audit, EventKind, SigningKey};
use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions, Network, Request, Response, Timeouts};
use nexus_effects::memory::Memory;
use nexus_gate::{
    Action, Context, EffectClass, Gate, InvocationId, Kind, Options, Permit, Policy, Principal,
    RootOrigin, kind,
};
use nexus_manifest::{Digest, Manifest, Method, Origin};
use nexus_store::{RedbStore, Store};
use nexus_vault::{MasterKey, Vault};
use tempfile::TempDir;

pub(crate) struct House {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Audit,
    pub(crate) vault: Vault,
    pub(crate) gate: Gate,
    pub(crate) memory: Memory,
    sequence: AtomicU64,
    invocation: InvocationId,
    _dir: TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store: Arc<dyn Store> =
            RedbStore::open(dir.path(), nexus_store::Options::default()).unwrap();
        let audit = Audit::open(store.clone(), SigningKey::generate().unwrap())
            .await
            .unwrap();
        let vault = Vault::open(store.clone(), audit.clone(), MasterKey::from_bytes([7; 32]))
            .await
            .unwrap();
        let policy = Policy::parse("@id(\"all\") permit (principal, action, resource);").unwrap();
        let options = Options::new(store.clone(), audit.clone(), vault.clone(), policy);
        let gate = Gate::open(options).await.unwrap();
        let memory = Memory::new(store.clone(), audit.clone(), vault.clone());
        let invocation = InvocationId::new();
        Self {
            store,
            audit,
            vault,
            gate,
            memory,
            sequence: AtomicU64::new(1),
            invocation,
            _dir: dir,
        }
    }

    /// An agent with these permissions, each the inside of a `[[permission]]`.
    pub(crate) fn context(&self, permissions: &[String]) -> Arc<Context> {
        let mut text =
            "format = 1\nname = \"tester\"\nversion = \"0.1.0\"\nsummary = \"Tests\"\n".to_owned();
        for permission in permissions {
            text.push_str(&format!("[[permission]]\n{permission}\n"));
        }
        Arc::new(Context {
            agent: "tester".parse().unwrap(),
            component: Digest::of(b"component"),
            manifest: Arc::new(Manifest::parse(&text).unwrap()),
            principal: Principal::new("op"),
            invocation: self.invocation,
            root: RootOrigin::Interactive,
            chain: Vec::new(),
            chain_class: EffectClass::Read,
            reviewed: true,
            shadow: false,
            labels: BTreeSet::new(),
        })
    }

    pub(crate) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) async fn permit<K: Kind>(&self, action: Action) -> Permit<K> {
        self.gate.check::<K>(action, &()).await.unwrap()
    }

    /// A permit for this request, by an agent that may send anything to its origin.
    pub(crate) async fn permit_http(
        &self,
        request: &Request,
        more: &[String],
    ) -> Permit<kind::Http> {
        let context = self.context(&[&[http_permission(request.origin())], more].concat());
        self.permit(request.action(context, self.next(), BTreeSet::new()))
            .await
    }

    pub(crate) async fn send(&self, egress: &Egress, request: Request) -> Result<Response, Error> {
        let permit = self.permit_http(&request, &[]).await;
        egress.send(permit, request, &self.vault).await
    }

    pub(crate) async fn count(&self, kind: EventKind) -> usize {
        self.events()
            .await
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    }

    /// The whole trail, notes included: a durable event after them brings them to the disk.
    pub(crate) async fn events(&self) -> Vec<nexus_audit::Event> {
        self.audit
            .write(nexus_audit::Event::new(EventKind::RequestReceived))
            .await
            .unwrap();
        self.audit
            .events(1, 10_000)
            .await
            .unwrap()
            .into_iter()
            .map(|record| record.event)
            .collect()
    }
}

pub(crate) fn http_permission(origin: &Origin) -> String {
    format!(
        "http = {{ origin = \"{origin}\", methods = [\"GET\", \"HEAD\", \"OPTIONS\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\"], paths = [\"/*\"] }}"
    )
}

pub(crate) fn request(origin: &Origin, method: Method, target: &str) -> Request {
    Request::new(origin.clone(), method, target.parse().unwrap())
}

/// Options that let these origins be on this machine.
pub(crate) fn options(private: &[&Origin]) -> EgressOptions {
    EgressOptions {
        private_origins: private.iter().map(|&origin| origin.clone()).collect(),
        network: Arc::new(Names::new(&["127.0.0.1"])),
        ..EgressOptions::default()
    }
}

pub(crate) fn egress(private: &[&Origin]) -> Egress {
    Egress::new(options(private)).unwrap()
}

pub(crate) fn impatient(private: &[&Origin]) -> Egress {
    let timeouts = Timeouts {
        connect: Duration::from_secs(10),
        total: Duration::from_millis(300),
    };
    Egress::new(EgressOptions {
        timeouts,
        ..options(private)
    })
    .unwrap()
}

/// A resolver that answers every name with these addresses, and counts.
pub(crate) struct Names {
    answer: Vec<IpAddr>,
    pub(crate) asked: AtomicUsize,
}

impl Names {
    pub(crate) fn new(answer: &[&str]) -> Self {
        Self {
            answer: answer.iter().map(|text| text.parse().unwrap()).collect(),
            asked: AtomicUsize::new(0),
        }
    }
}

impl Network for Names {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            Ok(self
                .answer
                .iter()
                .map(|ip| SocketAddr::new(*ip, port))
                .collect())
        })
    }
}
