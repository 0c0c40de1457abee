//! A gate in a temporary directory, and actions to bring to it.

#[path = "../../../store/tests/support/faulty.rs"]
mod faulty;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nexus_audit::{Audit, EventKind, Record, SigningKey};
use nexus_gate::{
    Action, ActionKind, Approval, ApprovalId, Context, EffectClass, Filter, Gate, InvocationId,
    Kind, Options, Page, Payload, Permit, Policy, PolicyChange, PolicySource, Principal, Refusal,
    RootOrigin, State, Verdict, kind,
};
use nexus_manifest::{Digest, Manifest};
use nexus_store::RedbStore;
use nexus_vault::{MasterKey, Vault};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use faulty::Faulty;

pub(crate) const MANIFEST: &str = r#"
format = 1
name = "eth-tracker"
version = "0.1.0"
summary = "Values an ETH portfolio"

[[permission]]
http = { origin = "https://api.example.com", methods = ["GET", "POST"], paths = ["/v1/*"] }

[[permission]]
http = { origin = "https://rpc.example.com", methods = ["POST"], paths = ["/"], reads = [{ pointer = "/method", values = ["eth_call"] }] }

[[permission]]
http = { origin = "http://127.0.0.1:8080", methods = ["GET"], paths = ["/price"] }

[[permission]]
secret = { name = "exchange-key", audience = ["https://api.example.com"] }

[[permission]]
memory = { space = "kb-08", access = "read-write" }

[[permission]]
memory = { space = "facts", access = "read" }

[[permission]]
peer = { agent = "notifier" }

[[permission]]
peer = { tag = "finance" }
"#;

pub(crate) struct House {
    pub(crate) gate: Gate,
    pub(crate) audit: Audit,
    pub(crate) disk: Arc<Faulty>,
    pub(crate) changes: broadcast::Receiver<Approval>,
    _dir: Option<TempDir>,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn under(policy: &str) -> Self {
        let policy = Policy::parse(policy).unwrap();
        Self::with(|options| options.policy = policy).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut house = Self::at(dir.path(), change).await;
        house._dir = Some(dir);
        house
    }

    pub(crate) async fn at(dir: &Path, change: impl FnOnce(&mut Options)) -> Self {
        let store = RedbStore::open(dir, nexus_store::Options::default()).unwrap();
        let disk = Faulty::over(store);
        let key = SigningKey::load_or_create(dir.join("audit.key")).unwrap();
        let audit = Audit::open(disk.clone(), key).await.unwrap();
        let vault = Vault::open(disk.clone(), audit.clone(), MasterKey::from_bytes([7; 32]))
            .await
            .unwrap();
        let mut options = Options::new(disk.clone(), audit.clone(), vault, Policy::shipped());
        change(&mut options);
        let gate = Gate::open(options).await.unwrap();
        let changes = gate.watch();
        Self {
            gate,
            audit,
            disk,
            changes,
            _dir: None,
        }
    }

    /// Ends once the last task of this gate has let go of the store, so that it can be opened again.
    pub(crate) async fn close(self) {
        let closed = self.disk.closed();
        drop(self);
        closed.await;
    }

    pub(crate) async fn set_policy(&self, policy: Policy) {
        let change = PolicyChange {
            policy,
            source: PolicySource::Set,
            principal: alice(),
            replaces: None,
        };
        self.gate.set_policy(change).await.unwrap();
    }

    /// Brings an action on a task of its own, as an invocation would.
    pub(crate) fn bring<K: Kind>(&self, action: Action) -> JoinHandle<Result<Permit<K>, Refusal>> {
        let gate = self.gate.clone();
        tokio::spawn(async move { gate.check::<K>(action, &()).await })
    }

    /// Brings a request that a person is asked about, and gives the question.
    pub(crate) async fn ask(
        &mut self,
        action: Action,
    ) -> (JoinHandle<Result<Permit<kind::Http>, Refusal>>, Approval) {
        let waiting = self.bring(action);
        (waiting, self.next(State::Pending).await)
    }

    /// Alice says yes.
    pub(crate) async fn approve(&self, id: ApprovalId) {
        let decided = self.gate.decide(id, Verdict::Approve, None, &alice()).await;
        decided.unwrap();
    }

    /// The next change of an approval into this state.
    pub(crate) async fn next(&mut self, state: State) -> Approval {
        loop {
            let approval = self.changes.recv().await.unwrap();
            if approval.state == state {
                return approval;
            }
        }
    }

    /// The approval as it is now.
    pub(crate) async fn approval(&self, id: nexus_gate::ApprovalId) -> Approval {
        self.gate.approval(id).await.unwrap().unwrap()
    }

    pub(crate) async fn in_state(&self, state: State) -> Vec<Approval> {
        let filter = Filter {
            state: Some(state),
            agent: None,
        };
        self.gate
            .approvals(&filter, &Page::default())
            .await
            .unwrap()
    }

    /// The whole trail.
    pub(crate) async fn events(&self) -> Vec<Record> {
        let mut events = self.audit.events(1, 10_000).await.unwrap();
        // The vault's own beginning.
        events.retain(|record| record.event.kind != EventKind::VaultAnchored);
        events
    }

    pub(crate) async fn count(&self, kind: EventKind) -> usize {
        self.events()
            .await
            .iter()
            .filter(|record| record.event.kind == kind)
            .count()
    }
}

pub(crate) fn context() -> Context {
    Context {
        agent: "eth-tracker".parse().unwrap(),
        component: Digest::of(b"component"),
        manifest: Arc::new(Manifest::parse(MANIFEST).unwrap()),
        principal: Principal::new("operator"),
        invocation: InvocationId::new(),
        root: RootOrigin::Interactive,
        chain: Vec::new(),
        chain_class: EffectClass::Read,
        reviewed: true,
        shadow: false,
        labels: BTreeSet::new(),
    }
}

pub(crate) fn action(capability: &'static str, verb: &str, target: &str) -> Action {
    Action {
        kind: ActionKind::Effect,
        context: Arc::new(context()),
        sequence: 1,
        capability,
        verb: verb.to_owned(),
        target: target.to_owned(),
        class: EffectClass::Read,
        labels: BTreeSet::new(),
        payload: Payload::new(json!({})),
    }
}

/// A write that leaves the host: the shipped policy asks a person.
pub(crate) fn order() -> Action {
    let mut order = action("http", "POST", "https://api.example.com/v1/orders");
    order.payload = Payload::new(json!({ "headers": [["content-type", "application/json"]] }))
        .with_part("body", "application/json", r#"{"symbol":"ETH","amount":1}"#);
    order
}

/// One like it and unlike every other of these.
pub(crate) fn order_of(amount: usize) -> Action {
    let mut order = order();
    order.payload.parts[0].bytes = format!(r#"{{"symbol":"ETH","amount":{amount}}}"#).into();
    order
}

/// A write that stays: free under the shipped policy.
pub(crate) fn put() -> Action {
    let mut put = action("memory", "put", "kb-08/balance");
    put.payload = put.payload.with_part("value", "text/plain", "17");
    put
}

pub(crate) fn alice() -> Principal {
    Principal::new("alice")
}
