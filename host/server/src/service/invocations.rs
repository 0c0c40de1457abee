//! `InvocationService`: calls of agents.

use std::time::Duration;

use futures::StreamExt as _;
use nexus_audit::{Event as AuditEvent, EventKind};
use nexus_gate::{InvocationId, RootOrigin};
use nexus_manifest::AgentName;
use nexus_proto::v1;
use nexus_proto::v1::invocation_service_server::InvocationService;
use nexus_runtime::{Event, InvocationState, Invoke, InvokeError, Record, Running, Wanted};
use nexus_store::now_ms;
use tokio::sync::broadcast::error::RecvError;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::{Code, Request, Response, Status};

use super::{Events, caller};
use crate::auth::{Caller, Role};
use crate::fault::Fault;
use crate::host::Host;
use crate::{convert, names, paging, publish, requests};

/// See the module.
pub(crate) struct Invocations {
    pub(crate) host: Host,
}

#[tonic::async_trait]
impl InvocationService for Invocations {
    async fn invoke_agent(
        &self,
        request: Request<v1::InvokeAgentRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let root = origin(&caller, request.root_origin())?;
        let running = self
            .start(
                &request.name,
                request.input,
                request.request_id,
                request.timeout,
                (&caller, root),
            )
            .await?;
        // The invocation has its own task: a client that goes away ends this wait, nothing else.
        if request.wait_for_decision {
            running.outcome().await;
        } else {
            running.changed(InvocationState::Running).await;
        }
        Ok(Response::new(convert::invocation(&running.record())))
    }

    async fn start_invocation(
        &self,
        request: Request<v1::StartInvocationRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let root = origin(&caller, request.root_origin())?;
        let running = self
            .start(
                &request.name,
                request.input,
                request.request_id,
                request.timeout,
                (&caller, root),
            )
            .await?;
        Ok(Response::new(convert::invocation(&running.record())))
    }

    async fn get_invocation(
        &self,
        request: Request<v1::GetInvocationRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        let caller = caller(&request)?;
        let record = self.visible(&request.get_ref().name, &caller).await?;
        Ok(Response::new(convert::invocation(&record)))
    }

    async fn list_invocations(
        &self,
        request: Request<v1::ListInvocationsRequest>,
    ) -> Result<Response<v1::ListInvocationsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let agent = names::agent_filter("agent", &request.agent)?;
        let size = paging::size(request.page_size)?;
        let before: Option<InvocationId> = match paging::after(&request.page_token)? {
            Some(id) => Some(id.parse().map_err(|_| {
                Fault::invalid("page_token", "use the next_page_token of the page before")
            })?),
            None => None,
        };
        let Some(state) = convert::invocation_state(request.state()) else {
            // No invocation of this host has diverged.
            return Ok(Response::new(v1::ListInvocationsResponse::default()));
        };
        let wanted = Wanted {
            agent,
            principal: (!caller.role.decides()).then(|| caller.principal.clone()),
            state,
        };
        let listed = self
            .host
            .runtime
            .invocations(&wanted, before.as_ref(), size)
            .await
            .map_err(|error| Fault::internal(&error))?;
        let next = listed.next.map(|id| paging::token(&id.to_string()));
        Ok(Response::new(v1::ListInvocationsResponse {
            invocations: listed.invocations.iter().map(convert::invocation).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type WatchInvocationStream = Events<v1::InvocationEvent>;

    async fn watch_invocation(
        &self,
        request: Request<v1::WatchInvocationRequest>,
    ) -> Result<Response<Self::WatchInvocationStream>, Status> {
        let caller = caller(&request)?;
        let record = self.visible(&request.get_ref().name, &caller).await?;
        let first =
            convert::invocation_event(record.id, Event::State(record.state), now_ms(), || {
                record.clone()
            });
        let Some(running) = self.host.runtime.running_invocation(&record.id) else {
            // It has ended: its last state is all there is.
            return Ok(Response::new(Box::pin(futures::stream::iter([Ok(first)]))));
        };
        Ok(Response::new(watch(running)))
    }

    type WatchInvocationsStream = Events<v1::InvocationEvent>;

    async fn watch_invocations(
        &self,
        request: Request<v1::WatchInvocationsRequest>,
    ) -> Result<Response<Self::WatchInvocationsStream>, Status> {
        let caller = caller(&request)?;
        let agent = names::agent_filter("agent", &request.get_ref().agent)?;
        let begun = BroadcastStream::new(self.host.runtime.watch_invocations());
        let wanted = move |running: &Running| {
            let record = running.record();
            may_see(&caller, &record) && agent.as_ref().is_none_or(|agent| *agent == record.agent)
        };
        let events = begun.flat_map_unordered(None, move |begun| match begun {
            Ok(running) if wanted(&running) => watch(running),
            Ok(_) => Box::pin(futures::stream::empty()),
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Box::pin(futures::stream::iter([Err(lagged(missed).into())]))
            }
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn cancel_invocation(
        &self,
        request: Request<v1::CancelInvocationRequest>,
    ) -> Result<Response<v1::Invocation>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let record = self.visible(&request.name, &caller).await?;
        if caller.role != Role::Operator && record.principal != caller.principal {
            let message = format!(
                "{} belongs to {}; its principal or an operator may cancel it",
                request.name, record.principal
            );
            return Err(Fault::new(Code::PermissionDenied, "NOT_YOURS", message).into());
        }
        let asked = AuditEvent::new(EventKind::RequestReceived)
            .principal(caller.principal.as_str())
            .agent(record.agent.clone())
            .invocation(record.id.to_string())
            .detail(serde_json::json!({ "service": "InvocationService", "verb": "cancel" }));
        // What only stops something is not kept from it by a disk that is full.
        if let Err(error) = self.host.runtime.services().audit.note(asked) {
            tracing::warn!(%error, invocation = %record.id, "that it is cancelled is not recorded");
        }
        let Some(running) = self.host.runtime.running_invocation(&record.id) else {
            // Cancelling what has ended changes nothing.
            return Ok(Response::new(convert::invocation(&record)));
        };
        let reason = match request.reason.as_str() {
            "" => format!("cancelled by {}", caller.principal),
            reason => format!(
                "cancelled by {}: {}",
                caller.principal,
                reason.chars().take(500).collect::<String>()
            ),
        };
        running.cancel(&reason);
        running.outcome().await;
        Ok(Response::new(convert::invocation(&running.record())))
    }
}

impl Invocations {
    async fn start(
        &self,
        name: &str,
        input: String,
        request_id: String,
        timeout: Option<prost_types::Duration>,
        (caller, root): (&Caller, RootOrigin),
    ) -> Result<Running, Status> {
        let agent = names::agent("name", name)?;
        let timeout: Option<Duration> = timeout
            .map(|timeout| convert::from_duration("timeout", timeout))
            .transpose()?;
        if request_id.len() > 128 {
            return Err(Fault::invalid("request_id", "keep it to 128 bytes").into());
        }
        let invoke = Invoke {
            agent: agent.clone(),
            input: if input.is_empty() {
                "{}".to_owned()
            } else {
                input
            },
            principal: caller.principal.clone(),
            root,
            chain: None,
            request_id: Some(request_id).filter(|id| !id.is_empty()),
            timeout,
        };
        self.host
            .runtime
            .invoke(invoke)
            .await
            .map_err(|error| refuse(&self.host, &agent, error))
    }

    /// The invocation, if this caller may see it; otherwise it is as if it were not there.
    async fn visible(&self, name: &str, caller: &Caller) -> Result<Record, Status> {
        let unknown = || Fault::not_found("invocation", name, "ListInvocations shows them");
        let id: InvocationId = names::id("name", name, "invocations")?
            .parse()
            .map_err(|_| unknown())?;
        let found = self
            .host
            .runtime
            .invocation(&id)
            .await
            .map_err(|error| Fault::internal(&error))?;
        let record = found
            .filter(|record| may_see(caller, record))
            .ok_or_else(unknown)?;
        Ok(record)
    }
}

/// What began the call. A client may say that it was somebody else only if it may set the policy as
/// well: a policy can be laxer with other origins.
pub(super) fn origin(caller: &Caller, origin: v1::RootOrigin) -> Result<RootOrigin, Status> {
    let origin = convert::root_origin(origin);
    if origin == RootOrigin::Interactive || caller.role == Role::Operator {
        return Ok(origin);
    }
    let message = format!(
        "a token of role {} begins calls of the origin interactive only; leave root_origin unset",
        caller.role
    );
    Err(Fault::new(Code::PermissionDenied, "ORIGIN_NOT_ALLOWED", message).into())
}

/// Callers see their own invocations; those who run and approve see all.
fn may_see(caller: &Caller, record: &Record) -> bool {
    caller.role.decides() || record.principal == caller.principal
}

fn watch(running: Running) -> Events<v1::InvocationEvent> {
    // Subscribed before the invocation is read, so that nothing falls between the two.
    let events = running.events();
    let past = running.log().into_iter().map(Event::Log);
    let record = running.record();
    // What is shown decides whether there is more to come, not what it has become since.
    let ended = record.state.is_final();
    let asked = record.approvals.clone();
    let now = [Event::State(record.state)];
    let first = past
        .chain(now)
        .chain(asked.iter().copied().map(Event::Approval));
    let ready: Vec<_> = first
        .map(|event| convert::invocation_event(record.id, event, now_ms(), || record.clone()))
        .collect();
    let first = futures::stream::iter(ready.into_iter().map(Ok));
    let rest = (!ended).then_some((running, events, asked));
    let rest = futures::stream::unfold(rest, |watch| async move {
        let (running, mut events, asked) = watch?;
        loop {
            return match events.recv().await {
                // It was asked between the subscription and the reading, and is told already.
                Ok(Event::Approval(id)) if asked.contains(&id) => continue,
                Ok(event) => {
                    let ends = matches!(event, Event::State(state) if state.is_final());
                    let wire = to_wire(event, &running);
                    Some((Ok(wire), (!ends).then_some((running, events, asked))))
                }
                Err(RecvError::Lagged(missed)) => Some((Err(lagged(missed).into()), None)),
                Err(RecvError::Closed) => None,
            };
        }
    });
    Box::pin(first.chain(rest))
}

fn lagged(missed: u64) -> Fault {
    let message = format!("{missed} events were missed; watch again");
    Fault::new(Code::Aborted, "WATCH_LAGGED", message)
}

fn to_wire(event: Event, running: &Running) -> v1::InvocationEvent {
    convert::invocation_event(running.id(), event, now_ms(), || running.record())
}

fn refuse(host: &Host, agent: &AgentName, error: InvokeError) -> Status {
    match error {
        InvokeError::UnknownAgent(name) => return publish::no_agent(host, &name),
        InvokeError::InvalidInput(violations) => Fault::schema(&names::of_agent(agent), &violations),
        InvokeError::InputTooLarge { limit, .. } => {
            Fault::invalid("input", format!("keep it to {limit} bytes"))
        }
        InvokeError::Busy { .. } => Fault::exhausted(
            "TOO_MANY_INVOCATIONS",
            format!("{agent} or this host has as many invocations as it may; try again when some have ended"),
        ),
        InvokeError::RequestReused(id) => return requests::reused(&id),
        InvokeError::Locked(locked) => Fault::locked(&locked),
        InvokeError::Stopping => Fault::unavailable("STOPPING", "the host is stopping; call again when it is back"),
        error => Fault::internal(&error),
    }
    .into()
}
