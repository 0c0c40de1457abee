//! The last stage: the switch, the gate, and the swap.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexus_gate::{Action, Approval, ApprovalId, Observer, Payload, Permit, Refusal, kind};
use nexus_manifest::Digest;
use nexus_runtime::{Generation, Prepared, Publish, Succession};
use nexus_store::Commit;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::event::{Detail, NotPublished, Stage, StageState};
use crate::failure::{Failure, Reason};
use crate::forge::{Inner, error_chain};
use crate::pipeline::End;
use crate::records::{self, ForgeId, Forged, ForgedState, Lineage};
use crate::request::Request;
use crate::review::{Entry, ReviewEnd};
use crate::shadow::Shadowed;
use crate::stages::Stages;
use crate::stop::Stop;

/// Names the forge in what is kept with a generation.
pub(crate) const BY_FORGE: &str = "forge";

/// A component that could go live.
pub(crate) struct Candidate {
    pub(crate) id: ForgeId,
    pub(crate) lineage: Lineage,
    pub(crate) prepared: Prepared,
    /// What it would have done in the examples.
    pub(crate) planned: Vec<String>,
    /// What it did with real reads.
    pub(crate) shadowed: Vec<Shadowed>,
    /// How long it took so far.
    pub(crate) forging: Duration,
}

pub(crate) async fn publish(
    forge: &Inner,
    request: &Request,
    candidate: Candidate,
    stages: &Stages,
    stop: &Stop,
) -> Result<&'static str, End> {
    stages.begin(Stage::Publish);
    let mut review = forge.reviews.entry();
    let published = attempt(forge, request, candidate, stages, stop, &mut review).await;
    let (end, told) = match published {
        Ok(Some(generation)) => {
            let detail = Detail::Published(generation.clone());
            stages.finish(StageState::Succeeded, Some(detail));
            (ReviewEnd::Published(generation), Ok("published"))
        }
        Ok(None) => (ReviewEnd::Held, Ok("held")),
        Err(Unpublished::Failed(failure)) => (
            ReviewEnd::Failed(failure.message.clone()),
            Err(End::Failed(failure)),
        ),
        Err(Unpublished::Cancelled) => (
            ReviewEnd::Failed("the forge was cancelled".to_owned()),
            Err(End::Cancelled),
        ),
    };
    review.end(end);
    told
}

/// Why a component is not published.
enum Unpublished {
    Failed(Failure),
    Cancelled,
}

/// What only says that the host can't.
impl From<String> for Unpublished {
    fn from(message: String) -> Self {
        Self::Failed(Failure::new(Reason::Host, message))
    }
}

/// `None`: the component is held.
async fn attempt(
    forge: &Inner,
    request: &Request,
    candidate: Candidate,
    stages: &Stages,
    stop: &Stop,
    review: &mut Entry<'_>,
) -> Result<Option<Arc<Generation>>, Unpublished> {
    let Candidate {
        id,
        lineage,
        prepared,
        planned,
        shadowed,
        forging,
    } = candidate;
    let digest = prepared.digest;
    let mut forged = Forged {
        id,
        agent: request.agent.clone(),
        state: ForgedState::Published,
        mode: request.mode.as_str().to_owned(),
        component: digest,
        created_ms: lineage.created_ms,
        duration: forging,
        principal: request.principal.clone(),
    };
    // What ran with real reads is for a person to decide on, though it is only to be kept.
    if shadowed.is_empty() && !enabled(forge).await? {
        return Ok(hold(forge, forged, &lineage, &prepared, stages).await?);
    }

    let (principal, root) = (&request.principal, request.root);
    let succession = forge
        .runtime
        .succession(&prepared.manifest, principal, root);
    let mut told = origin(&lineage);
    if !planned.is_empty() {
        told.insert("planned_in_examples".to_owned(), json!(planned));
    }
    if !shadowed.is_empty() {
        told.insert(nexus_gate::SHADOW_RUNS.to_owned(), json!(shadowed));
    }
    let action = prepared.action(principal, root, told, &succession);
    let payload = action.payload.clone();
    // Whoever decides on an approval reads where the component came from.
    save(forge, None, Some(&lineage)).await?;
    let watcher = Watcher {
        stages,
        forged: &forged,
        stopped: Mutex::new(None),
    };
    let checked = tokio::select! {
        biased;
        // Dropping the question withdraws it.
        () = stop.stopped() => None,
        checked = check(forge, action, &watcher, (&prepared, &succession, planned), review) => Some(checked),
    };
    // Who approves and cancels at once has cancelled.
    let checked = checked.filter(|_| !stop.is_stopped());
    let asked = watcher.asked().is_some();
    let permit = match checked {
        Some(Ok(permit)) => permit,
        refused => {
            if asked {
                forged.state = ForgedState::Refused;
                save(forge, Some(&forged), None).await?;
            }
            return Err(match refused {
                Some(Err(refusal)) => {
                    let message = format!("it is not published: {refusal}");
                    Unpublished::Failed(Failure::new((&refusal).into(), message))
                }
                _ => Unpublished::Cancelled,
            });
        }
    };

    // From here to the swap the switch can't be thrown, and nobody cancels any more.
    let _open = forge.switch.read().await;
    if !enabled(forge).await? {
        drop(permit);
        return Ok(hold(forge, forged, &lineage, &prepared, stages).await?);
    }
    let generation = swap(forge, request, permit, &payload, prepared, &forged).await?;
    Ok(Some(generation))
}

async fn enabled(forge: &Inner) -> Result<bool, String> {
    let read = records::hot_reload(&*forge.runtime.services().store).await;
    Ok(read.map_err(|error| error_chain(&error))?.enabled)
}

/// Keeps the component and its origin, and publishes nothing.
async fn hold(
    forge: &Inner,
    mut forged: Forged,
    lineage: &Lineage,
    prepared: &Prepared,
    stages: &Stages,
) -> Result<Option<Arc<Generation>>, String> {
    forged.state = ForgedState::Held;
    let mut commit = Commit::new();
    records::put_forged(&mut commit, &forged);
    records::put_lineage(&mut commit, lineage);
    let keeper = forged.id.to_string();
    let kept = forge.runtime.keep(prepared, &keeper, commit).await;
    kept.map_err(|error| error_chain(&error))?;
    let detail = Detail::NotPublished {
        reason: NotPublished::HotReloadOff,
        digest: prepared.digest,
    };
    stages.finish(StageState::Stopped, Some(detail));
    Ok(None)
}

async fn save(
    forge: &Inner,
    forged: Option<&Forged>,
    lineage: Option<&Lineage>,
) -> Result<(), String> {
    let mut commit = Commit::new();
    if let Some(forged) = forged {
        records::put_forged(&mut commit, forged);
    }
    if let Some(lineage) = lineage {
        records::put_lineage(&mut commit, lineage);
    }
    let store = &forge.runtime.services().store;
    store
        .commit(commit)
        .await
        .map(drop)
        .map_err(|error| error_chain(&error))
}

/// Where the component came from, for the person who decides.
fn origin(lineage: &Lineage) -> Map<String, Value> {
    let told = [
        ("mode", json!(lineage.mode)),
        ("template", json!(lineage.template)),
        ("model", json!(lineage.model)),
        ("prompt_digest", json!(lineage.prompt_digest)),
        (
            "source_digest",
            json!(Digest::of(lineage.source.as_bytes())),
        ),
    ];
    let mut told: Map<String, Value> = told
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    // What nobody asked for in as many words is marked as such.
    let spec = serde_json::from_str::<Value>(&lineage.spec).unwrap_or_default();
    if let Some(defaults) = spec["defaults"].as_array().filter(|all| !all.is_empty()) {
        told.insert("by_default".to_owned(), json!(defaults));
    }
    told
}

async fn swap(
    forge: &Inner,
    request: &Request,
    permit: Permit<kind::Publish>,
    payload: &Payload,
    prepared: Prepared,
    forged: &Forged,
) -> Result<Arc<Generation>, Unpublished> {
    let fields = &payload.fields;
    // Whoever finds the generation finds the forge's end, after a crash too.
    let mut beside = Commit::new();
    records::put_forged(&mut beside, forged);
    let publish = Publish {
        // The full origin is under the component's digest; this tells it is there.
        lineage: Some(json!({
            "mode": fields["mode"],
            "source_digest": fields["source_digest"],
            BY_FORGE: forged.id,
        })),
        beside,
        reviewed: request.reviewed(),
        ..Publish::by(request.principal.clone())
    };
    let published = forge
        .runtime
        .publish_permitted(permit, payload, prepared, publish)
        .await;
    published.map_err(|error| Unpublished::Failed(Failure::of(&error)))
}

/// Asks the gate, and tells the caller once a person can be asked to decide.
async fn check(
    forge: &Inner,
    action: Action,
    watcher: &Watcher<'_>,
    (prepared, succession, planned): (&Prepared, &Succession, Vec<String>),
    review: &mut Entry<'_>,
) -> Result<Permit<kind::Publish>, Refusal> {
    let gate = &forge.runtime.services().gate;
    let mut changes = gate.watch();
    let checked = gate.check::<kind::Publish>(action, watcher);
    tokio::pin!(checked);
    loop {
        let change = tokio::select! {
            biased;
            checked = &mut checked => return checked,
            change = changes.recv() => change,
        };
        let approval = match (change, watcher.asked()) {
            (Ok(change), Some(asked)) if change.id == asked => asked,
            // Some changes were missed; this one may have been among them.
            (Err(RecvError::Lagged(_)), Some(asked))
                if matches!(gate.approval(asked).await, Ok(Some(_))) =>
            {
                asked
            }
            (Err(RecvError::Closed), _) => return checked.await,
            _ => continue,
        };
        // Only now can it be decided: before, it was on its way to the disk.
        review.asked(
            prepared.agent().clone(),
            prepared.permissions_digest,
            approval,
        );
        let detail = Detail::NeedsReview {
            approval,
            manifest: prepared.manifest.clone(),
            permissions_digest: prepared.permissions_digest,
            succession: Box::new(succession.clone()),
            planned,
        };
        watcher.stages.end(StageState::Stopped, Some(detail));
        return checked.await;
    }
}

/// Puts the component on the list of what waits, and stops the clock.
struct Watcher<'a> {
    stages: &'a Stages,
    forged: &'a Forged,
    stopped: Mutex<Option<(ApprovalId, Instant)>>,
}

impl Watcher<'_> {
    /// The approval, once a person is to be asked.
    fn asked(&self) -> Option<ApprovalId> {
        self.lock().map(|(approval, _)| approval)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(ApprovalId, Instant)>> {
        self.stopped
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for Watcher<'_> {
    fn waiting(&self, commit: &mut Commit, approval: &Approval) {
        let waiting = Forged {
            state: ForgedState::Review,
            ..self.forged.clone()
        };
        records::put_forged(commit, &waiting);
        *self.lock() = Some((approval.id, Instant::now()));
    }

    fn resumed(&self) {
        if let Some((_, since)) = *self.lock() {
            self.stages.waited(since);
        }
    }
}
