//! Uploads on their way to being callable: through the gate, and past a person where policy asks one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nexus_forge::ReviewEnd;
use nexus_gate::{
    Action, Approval, ApprovalId, Observer, Principal, Refusal, RootOrigin, StartError, kind,
};
use nexus_manifest::{AgentName, Digest, error_chain};
use nexus_runtime::{
    CompileError, Generation, PrepareError, Prepared, Publish, PublishError, Runtime, Succession,
};
use nexus_store::Commit;
use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};
use tonic::Status;

use crate::fault::Fault;
use crate::host::Host;
use crate::names;

/// How a publication ended, for everyone who waits for it.
pub(crate) type Done = watch::Receiver<Option<Result<Arc<Generation>, Status>>>;

/// What became of an upload so far.
pub(crate) enum Published {
    /// It is callable.
    Live(Arc<Generation>),
    /// A person is asked.
    Review(Review),
}

/// An upload that waits for a person.
#[derive(Clone)]
pub(crate) struct Review {
    pub(crate) approval: ApprovalId,
    pub(crate) done: Done,
}

/// The uploads that wait for a person, by agent and digest of the permissions.
#[derive(Clone, Default)]
pub struct Reviews(Arc<Mutex<HashMap<(AgentName, Digest), Review>>>);

impl Reviews {
    pub(crate) fn find(&self, agent: &AgentName, permissions: &Digest) -> Option<Review> {
        let key = (agent.clone(), *permissions);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned()
    }

    /// The approval of what waits to become this agent.
    pub(crate) fn waiting(&self, agent: &AgentName) -> Option<ApprovalId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = all.iter().filter(|((name, _), _)| name == agent);
        waiting.next().map(|(_, review)| review.approval)
    }

    fn insert(&self, key: (AgentName, Digest), review: Review) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, review);
    }

    fn remove(&self, key: &(AgentName, Digest), approval: ApprovalId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A later upload with the same permissions has taken the place.
        if all
            .get(key)
            .is_some_and(|review| review.approval == approval)
        {
            all.remove(key);
        }
    }
}

/// A change of an agent that may need a person.
pub(crate) enum Change {
    /// A component becomes its next generation.
    Upload(Prepared, Publish),
    /// A kept generation answers again.
    Rollback {
        generation: Arc<Generation>,
        succession: Succession,
        principal: Principal,
    },
}

impl Change {
    fn agent(&self) -> AgentName {
        match self {
            Self::Upload(prepared, _) => prepared.agent().clone(),
            Self::Rollback { generation, .. } => generation.agent().clone(),
        }
    }

    fn permissions_digest(&self) -> Digest {
        match self {
            Self::Upload(prepared, _) => prepared.permissions_digest,
            Self::Rollback { generation, .. } => generation.permissions_digest(),
        }
    }

    fn action(&self, runtime: &Runtime) -> Action {
        match self {
            Self::Upload(prepared, publish) => {
                let root = RootOrigin::Interactive;
                let origin = match &publish.lineage {
                    Some(Value::Object(lineage)) => lineage.clone(),
                    _ => Map::from_iter([("mode".to_owned(), json!("upload"))]),
                };
                let succession = runtime.succession(&prepared.manifest, &publish.owner, root);
                prepared.action(&publish.owner, root, origin, &succession)
            }
            Self::Rollback {
                generation,
                succession,
                principal,
            } => generation.rollback_action(principal, succession),
        }
    }
}

/// The approval of what waits to become this agent, by upload or by forge.
pub(crate) fn waiting(host: &Host, agent: &AgentName) -> Option<ApprovalId> {
    let uploaded = host.reviews.waiting(agent);
    uploaded.or_else(|| host.forge.waiting(agent))
}

/// Why an agent does not answer to its name: there is none, or none yet.
pub(crate) fn no_agent(host: &Host, agent: &AgentName) -> Status {
    let name = names::of_agent(agent);
    match waiting(host, agent) {
        None => Fault::not_found("agent", &name, "ListAgents shows them"),
        Some(approval) => Fault::precondition(
            "REVIEW_PENDING",
            format!(
                "{name} waits for a person: it goes live once approvals/{approval} is approved"
            ),
        )
        .with("approval", format!("approvals/{approval}")),
    }
    .into()
}

/// Takes a change to the gate. Returns when it is live, or when a person is asked; the
/// publication then goes on by itself and ends with the decision.
pub(crate) async fn begin(host: &Host, change: Change) -> Result<Published, Status> {
    let (asked, asking) = oneshot::channel();
    let (end, done) = watch::channel(None);
    let key = (change.agent(), change.permissions_digest());
    let runtime = host.runtime.clone();
    let watcher = Watcher(Mutex::new(Some(asked)));
    tokio::spawn(async move {
        let published = go_live(&runtime, change, &watcher).await;
        // Nobody may be waiting any more.
        let _ = end.send(Some(published));
    });
    let Ok(approval) = asking.await else {
        // The watcher was dropped without having been told anything: nobody had to be asked.
        return finish(done).await.map(Published::Live);
    };
    let review = Review { approval, done };
    host.reviews.insert(key.clone(), review.clone());
    let (reviews, mut done) = (host.reviews.clone(), review.done.clone());
    tokio::spawn(async move {
        let _ = done.wait_for(Option::is_some).await;
        reviews.remove(&key, approval);
    });
    Ok(Published::Review(review))
}

/// Waits for the end of a publication.
pub(crate) async fn finish(mut done: Done) -> Result<Arc<Generation>, Status> {
    let ended = done.wait_for(Option::is_some).await;
    match ended.ok().and_then(|ended| ended.clone()) {
        Some(ended) => ended,
        None => Err(Fault::unavailable(
            "STOPPING",
            "the host is stopping; deploy again when it is back",
        )
        .into()),
    }
}

/// Waits for the end of a forge that a person has agreed to.
pub(crate) async fn forged(
    agent: &AgentName,
    mut review: nexus_forge::Review,
) -> Result<Arc<Generation>, Status> {
    let ended = review.done.wait_for(Option::is_some).await;
    let end = ended.ok().and_then(|ended| ended.clone());
    let fault = match end {
        Some(ReviewEnd::Published(generation)) => return Ok(generation),
        Some(ReviewEnd::Held) => Fault::precondition(
            "HOT_RELOAD_OFF",
            format!(
                "{agent} is not published: hot reload was switched off meanwhile; the component is kept"
            ),
        ),
        Some(ReviewEnd::Failed(reason)) => {
            let message = format!("{agent}: {reason}");
            Fault::not_recorded(&reason)
                .unwrap_or_else(|| Fault::precondition("REVIEW_ENDED", message))
        }
        None => Fault::unavailable(
            "STOPPING",
            "the host is stopping; forge again when it is back",
        ),
    };
    Err(fault.with("agent", agent.as_str()).into())
}

async fn go_live(
    runtime: &Runtime,
    change: Change,
    watcher: &Watcher,
) -> Result<Arc<Generation>, Status> {
    let action = change.action(runtime);
    let payload = action.payload.clone();
    let checked = runtime
        .services()
        .gate
        .check::<kind::Publish>(action, watcher)
        .await;
    watcher
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let permit = checked.map_err(|refusal| refuse_review(&change.agent(), &refusal))?;
    let published = match change {
        Change::Upload(prepared, publish) => {
            let publish = runtime.publish_permitted(permit, &payload, prepared, publish);
            publish.await
        }
        Change::Rollback {
            generation,
            principal,
            ..
        } => {
            let (agent, number) = (generation.agent(), generation.number);
            let permit = Some((permit, &payload));
            runtime.rollback(agent, number, &principal, permit).await
        }
    };
    published.map_err(refuse_publish)
}

/// Tells who waits for the upload that a person is asked.
struct Watcher(Mutex<Option<oneshot::Sender<ApprovalId>>>);

impl Observer for Watcher {
    fn waiting(&self, _: &mut Commit, _: &Approval) {}

    fn asked(&self, approval: ApprovalId) {
        if let Some(asked) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The client may have left; the approval stays.
            let _ = asked.send(approval);
        }
    }

    fn resumed(&self) {}
}

fn refuse_review(agent: &AgentName, refusal: &Refusal) -> Status {
    let message = format!("{agent} is not published: {refusal}");
    match refusal {
        Refusal::Denied(_) => Fault::new(tonic::Code::PermissionDenied, "REVIEW_DENIED", message),
        Refusal::Forbidden(_) => Fault::new(tonic::Code::PermissionDenied, "FORBIDDEN", message),
        Refusal::Unavailable(reason) => Fault::not_recorded(reason)
            .unwrap_or_else(|| Fault::unavailable("NOT_RECORDED", message)),
        Refusal::Invalid(_) => Fault::new(tonic::Code::InvalidArgument, "INVALID_AGENT", message),
        Refusal::Crowded(_) => Fault::exhausted("TOO_MANY_QUESTIONS", message),
        Refusal::Expired | Refusal::Unattended | Refusal::Cancelled => {
            Fault::precondition("REVIEW_ENDED", message)
        }
    }
    .with("agent", agent.as_str())
    .into()
}

/// Why a component is refused, and what its author does about it.
pub(crate) fn refuse_component(error: PrepareError) -> Status {
    let message = error_chain(&error);
    match error {
        PrepareError::TooLarge { .. } => Fault::exhausted("COMPONENT_TOO_LARGE", message),
        PrepareError::Shape(_) | PrepareError::Package(_) => {
            Fault::new(tonic::Code::InvalidArgument, "INVALID_COMPONENT", message)
        }
        PrepareError::Manifest(_) => {
            Fault::new(tonic::Code::InvalidArgument, "INVALID_MANIFEST", message)
        }
        PrepareError::Proof(_) => {
            Fault::new(tonic::Code::InvalidArgument, "MANIFEST_MISMATCH", message)
        }
        PrepareError::Compile(CompileError::Start(nexus_sandbox::Error::Unsupported)) => {
            Fault::precondition("NO_SANDBOX", message)
        }
        PrepareError::Compile(error @ (CompileError::Start(_) | CompileError::Crashed(_))) => {
            Fault::internal(&error)
        }
        _ => Fault::new(
            tonic::Code::InvalidArgument,
            "COMPONENT_DOES_NOT_RUN",
            message,
        ),
    }
    .into()
}

/// Why an agent was not changed.
pub(crate) fn refuse_publish(error: PublishError) -> Status {
    match &error {
        PublishError::OwnedByAnother { agent, owner } => Fault::new(
            tonic::Code::PermissionDenied,
            "OWNED_BY_ANOTHER",
            format!("{agent} belongs to {owner}; use another name, or ask {owner} or an operator"),
        )
        .with("agent", agent.as_str())
        .with("owner", owner.as_str()),
        PublishError::UnknownAgent(agent) => Fault::not_found(
            "agent",
            &crate::names::of_agent(agent),
            "ListAgents shows them",
        ),
        PublishError::UnknownGeneration { agent, number } => Fault::not_found(
            "generation",
            &format!("{}/generations/{number}", crate::names::of_agent(agent)),
            "ListGenerations shows those that are kept",
        ),
        PublishError::NotPermitted(StartError::Unavailable(reason)) => Fault::not_recorded(reason)
            .unwrap_or_else(|| Fault::unavailable("NOT_RECORDED", error_chain(&error))),
        PublishError::Locked(locked) => Fault::locked(locked),
        PublishError::Widens(agent) => Fault::new(
            tonic::Code::Aborted,
            "STALE_REVIEW",
            format!("{error}; look at it as it is now, and try again"),
        )
        .with("agent", agent.as_str()),
        PublishError::NotPermitted(_) => Fault::precondition("PERMIT_VOID", error_chain(&error)),
        _ => Fault::internal(&error),
    }
    .into()
}
