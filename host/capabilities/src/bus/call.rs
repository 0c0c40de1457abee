//! One call of a peer, from the gate to the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_effects::{Watch, bus};
use nexus_gate::{Callee, Context, Finish, Label, Observer, kind};
use nexus_manifest::{AgentName, Digest};
use nexus_runtime::{
    Chain, ChainError, Generation, Held, Invoke, InvokeError, Outcome, Running, Runtime, Services,
    State,
};
use serde_json::json;

use crate::bindings::nexus::agent::types::{Error, Failure};
use crate::error::{failed, refused};
use crate::task::Task;

/// The peer's output or failure, or why there is neither.
pub(super) type Answer = Result<Result<String, Failure>, Error>;

/// An answer, counted as held until the guest has it; or what ends the guest.
pub(super) type Ended = wasmtime::Result<(Answer, Held)>;

/// How often the host has the input of a call: as the guest gave it, in the action, and on its way to
/// the peer.
pub(super) const COPIES: usize = 3;

/// Ends the callee when the caller no longer waits for it.
struct Waiting(Running);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel("its caller no longer waits for it");
    }
}

/// How often a call is judged anew because its peer was replaced meanwhile.
const ATTEMPTS: usize = 16;

/// Starts a call beside the guest.
pub(super) fn start(
    state: &mut State,
    peer: AgentName,
    input: String,
    mut held: Held,
) -> Task<Ended> {
    let sequence = state.next_sequence();
    if let Some(rehearsal) = state.rehearsal() {
        let (context, labels) = (state.context().clone(), state.labels());
        let payload = bus::call_payload(None, &[], &input);
        let action = bus::call_action(context, sequence, labels, &peer, payload);
        rehearsal.plan(&action);
        let answer = Ok(Ok(rehearsal.answer(&peer)));
        return Task::spawn(std::future::ready(Ok((answer, held))));
    }
    let call = Call {
        services: state.services().clone(),
        runtime: state.runtime().clone(),
        observer: state.observer(),
        chain: state.chain(),
        context: state.context().clone(),
        labels: state.labels(),
        watch: state.watch().clone(),
        sequence,
        peer,
        input,
    };
    Task::spawn(async move {
        let answer = call.answer().await;
        drop(call);
        held.resize(size(&answer))?;
        Ok((answer, held))
    })
}

fn size(answer: &Answer) -> usize {
    match answer {
        Ok(Ok(output)) => output.len(),
        Ok(Err(failure)) => failure.code.len() + failure.message.len(),
        Err(_) => 0,
    }
}

/// A call of a peer, as the guest asked for it.
struct Call {
    services: Arc<Services>,
    runtime: Runtime,
    observer: Arc<dyn Observer>,
    chain: Chain,
    context: Arc<Context>,
    labels: BTreeSet<Label>,
    watch: Watch,
    sequence: u64,
    peer: AgentName,
    input: String,
}

/// Why a call did not reach the peer.
enum Missed {
    /// The peer is another component than the one that was judged.
    Replaced,
    Failed(Error),
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Call {
    async fn answer(&self) -> Answer {
        for _ in 1..ATTEMPTS {
            // What the gate has let through is one component; another one is judged on its own.
            match self.attempt().await {
                Err(Missed::Replaced) => {}
                Err(Missed::Failed(error)) => return Err(error),
                Ok(answer) => return answer,
            }
        }
        let reason = format!("{} is replaced again and again", self.peer);
        Err(Error::Unavailable(reason))
    }

    async fn attempt(&self) -> Result<Answer, Missed> {
        // Nobody is asked about a call of nobody, and whoever takes the name meanwhile does not get it.
        let Some(live) = self.runtime.get(&self.peer) else {
            return Err(not_started(InvokeError::UnknownAgent(self.peer.clone())).into());
        };
        let callee = callee(&live);
        let mut payload = bus::call_payload(Some(&callee), &live.manifest.tags, &self.input);
        let (context, labels) = (self.context.clone(), self.labels.clone());
        let action = bus::call_action(context, self.sequence, labels, &self.peer, payload.clone());
        self.watch.check(&action).await.map_err(failed)?;
        let permit = self
            .services
            .gate
            .check::<kind::BusCall>(action, &*self.observer)
            .await
            .map_err(refused)?;
        let chain = self.chain.clone().led_by(permit.action().class);
        let chain = chain.towards(callee.component);
        let mut input = self.input.clone();
        if permit.edited() {
            payload = permit.action().payload.clone();
            input = bus::input(&payload).map_err(failed)?;
        }
        let receipt = bus::start(permit, &payload).await.map_err(failed)?;
        let invoke = Invoke {
            agent: self.peer.clone(),
            input,
            principal: self.context.principal.clone(),
            root: self.context.root,
            chain: Some(chain),
            request_id: None,
            timeout: None,
        };
        let running = match self.runtime.invoke(invoke).await {
            Ok(running) => running,
            Err(error) => {
                let detail = json!({ "refused": error.to_string() });
                let finish = Finish {
                    ok: false,
                    result: Digest::of(b""),
                    detail,
                };
                // Nothing has happened, whether or not that could be recorded.
                let _ = receipt.finish(finish).await;
                return Err(match error {
                    InvokeError::Chain(ChainError::Replaced(_)) => Missed::Replaced,
                    error => Missed::Failed(not_started(error)),
                });
            }
        };
        let callee = running.id().to_string();
        let outcome = Waiting(running).0.outcome().await;
        let result = match &*outcome {
            Outcome::Success(output) => Digest::of(output.as_bytes()),
            other => Digest::of(other.as_str().as_bytes()),
        };
        let ok = matches!(*outcome, Outcome::Success(_));
        let detail = json!({ "callee": callee, "outcome": outcome.as_str() });
        let finished = receipt.finish(Finish { ok, result, detail }).await;
        // The callee has acted; what can't be recorded is not told as if it could.
        finished.map_err(|_| Error::OutcomeUnknown(callee))?;
        if let Outcome::Refused(refusal) = &*outcome {
            self.observer.refused(refusal);
        }
        Ok(answer(&outcome))
    }
}

/// Who a call of this agent would reach now.
fn callee(live: &Generation) -> Callee {
    Callee::new(live.digest, live.owner.clone(), &live.manifest)
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome.clone() {
        Outcome::Success(output) => Ok(Ok(output)),
        Outcome::Failure { code, message } => Ok(Err(Failure { code, message })),
        Outcome::Refused(refusal) => Err(refused(refusal)),
        Outcome::Exhausted { message, .. } => Err(Error::Exhausted(format!(
            "the peer used up a limit: {message}"
        ))),
        Outcome::Trapped { message } => {
            Err(Error::Unavailable(format!("the peer broke: {message}")))
        }
        Outcome::Cancelled { reason } => Err(Error::Unavailable(format!(
            "the peer was stopped: {reason}"
        ))),
        other => Err(Error::Unavailable(format!(
            "the peer ended as {}",
            other.as_str()
        ))),
    }
}

fn not_started(error: InvokeError) -> Error {
    match error {
        InvokeError::UnknownAgent(name) => Error::NotFound(format!("there is no agent {name} now")),
        InvokeError::InvalidInput(violations) => Error::Invalid(violations.first().map_or_else(
            || "the peer does not take this input".to_owned(),
            ToString::to_string,
        )),
        InvokeError::Chain(
            error @ (ChainError::TooDeep(_) | ChainError::FanOut(_) | ChainError::Budget(_)),
        ) => Error::Exhausted(error.to_string()),
        InvokeError::Chain(error) => Error::Forbidden(error.to_string()),
        other => Error::Unavailable(other.to_string()),
    }
}
