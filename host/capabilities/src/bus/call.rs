//! One call of a peer, from the gate to the answer.

use nexus_effects::bus;
use nexus_gate::{Finish, kind};
use nexus_manifest::{AgentName, Digest};
use nexus_runtime::{ChainError, Invoke, InvokeError, Outcome, Running, State};
use serde_json::json;

use crate::bindings::nexus::agent::types::{Error, Failure};
use crate::error::{failed, refused};
use crate::task::Task;

/// The peer's output or failure, or why there is neither.
pub(super) type Answer = Result<Result<String, Failure>, Error>;

/// Ends the callee when the caller no longer waits for it.
struct Waiting(Running);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel("its caller no longer waits for it");
    }
}

/// Starts a call beside the guest.
pub(super) fn start(state: &mut State, peer: AgentName, input: String) -> Task<Answer> {
    let tags = state
        .runtime()
        .get(&peer)
        .map(|live| live.manifest.tags.clone())
        .unwrap_or_default();
    let payload = bus::call_payload(&tags, &input);
    let sequence = state.next_sequence();
    let context = state.context().clone();
    let action = bus::call_action(context, sequence, state.labels(), &peer, payload.clone());
    let mut invoke = Invoke {
        agent: peer,
        input,
        principal: state.context().principal.clone(),
        root: state.context().root,
        chain: None,
        request_id: None,
        timeout: None,
    };
    let chain = state.chain();
    let services = state.services().clone();
    let runtime = state.runtime().clone();
    let observer = state.observer();
    let watched = state.watch().check(&action);
    Task::spawn(async move {
        watched.map_err(failed)?;
        let permit = services
            .gate
            .check::<kind::BusCall>(action, &*observer)
            .await
            .map_err(refused)?;
        invoke.chain = Some(chain.led_by(permit.action().class));
        let mut payload = payload;
        if permit.edited() {
            payload = permit.action().payload.clone();
            invoke.input = bus::input(&payload).map_err(failed)?;
        }
        let receipt = bus::start(permit, &payload).await.map_err(failed)?;
        let running = match runtime.invoke(invoke).await {
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
                return Err(not_started(error));
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
            observer.refused(refusal);
        }
        answer(&outcome)
    })
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
