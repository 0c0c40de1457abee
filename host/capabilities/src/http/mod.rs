//! `http`: requests to the origins that the manifest lists.

mod request;

use nexus_effects::http as egress;
use nexus_gate::{Label, Refusal, kind};
use nexus_runtime::{Held, State};
use wasmtime::component::Resource;

use crate::bindings::nexus::agent::http::{Host, HostOrigin, HostPending, Method, Response};
use crate::bindings::nexus::agent::types::Error;
use crate::error::{failed, lost, not_granted, refused};
use crate::rehearsed;
use crate::task::Task;

pub use request::Request;

/// The right to talk to one origin.
pub struct Origin {
    origin: nexus_manifest::Origin,
}

/// A request in the host's hands.
pub struct Pending {
    task: Task<Ended>,
}

/// The answer, counted as held until the guest has it; or what ends the guest.
type Ended = wasmtime::Result<Result<(egress::Response, Option<Held>), Error>>;

impl Host for State {}

impl HostOrigin for State {
    async fn open(&mut self, url: String) -> wasmtime::Result<Result<Resource<Origin>, Error>> {
        self.host_call()?;
        let origin: nexus_manifest::Origin = match url.parse() {
            Ok(origin) => origin,
            Err(error) => return Ok(Err(Error::Invalid(format!("{error}")))),
        };
        if self.context().manifest.http(&origin).next().is_none() {
            let reason = format!("the manifest has no http permission for {origin}");
            return Ok(Err(not_granted(self, "http", origin.as_str(), reason)));
        }
        if let Err(error) = self.services().egress.check_origin(&origin) {
            return Ok(Err(match error {
                nexus_effects::Error::Forbidden(reason) => {
                    not_granted(self, "http", origin.as_str(), reason)
                }
                other => failed(other),
            }));
        }
        Ok(Ok(self.table.push(Origin { origin })?))
    }

    async fn request(
        &mut self,
        origin: Resource<Origin>,
        method: Method,
        target: String,
    ) -> wasmtime::Result<Result<Resource<Request>, Error>> {
        self.host_call()?;
        let origin = self.table.get(&origin)?.origin.clone();
        let target = match target.parse::<nexus_manifest::Target>() {
            Ok(target) => target,
            Err(error) => return Ok(Err(Error::Invalid(format!("{error}")))),
        };
        let method = request::method(method);
        let manifest = &self.context().manifest;
        let allowed = manifest
            .http(&origin)
            .any(|grant| grant.methods.contains(&method));
        // What it may not send need not be put together.
        if !allowed {
            let reason = format!("the manifest does not allow {method} to {origin}");
            return Ok(Err(not_granted(self, "http", origin.as_str(), reason)));
        }
        let inner = egress::Request::new(origin, method, target);
        let held = self.hold(inner.size())?;
        Ok(Ok(self.table.push(Request { inner, held })?))
    }

    async fn drop(&mut self, origin: Resource<Origin>) -> wasmtime::Result<()> {
        self.table.delete(origin)?;
        Ok(())
    }
}

impl HostPending for State {
    async fn wait(
        &mut self,
        pending: Resource<Pending>,
    ) -> wasmtime::Result<Result<Response, Error>> {
        self.host_call()?;
        let mut pending = self.table.delete(pending)?;
        let ended = pending.task.wait().await;
        self.waited();
        Ok(match ended.transpose()? {
            Some(Ok((response, _held))) => Ok(Response {
                status: response.status,
                headers: response.headers,
                body: response.body.into(),
            }),
            Some(Err(error)) => {
                if let Error::Forbidden(reason) = &error {
                    self.refused(&Refusal::Forbidden(reason.clone()));
                }
                Err(error)
            }
            None => Err(lost()),
        })
    }

    async fn drop(&mut self, pending: Resource<Pending>) -> wasmtime::Result<()> {
        // Ends the task, which withdraws what was not decided.
        self.table.delete(pending)?;
        Ok(())
    }
}

/// Takes a request through the gate and out of the host, beside the guest.
fn start(state: &mut State, request: Request) -> Pending {
    let Request {
        inner: mut request,
        mut held,
    } = request;
    let sequence = state.next_sequence();
    let action = request.action(state.context().clone(), sequence, state.labels());
    let shadow = state.rehearsal();
    if let Some(rehearsal) = &shadow
        && !(rehearsal.is_shadow() && rehearsed::is_real(&request, &action))
    {
        let (origin, method) = (request.origin(), request.method());
        let mut grants = state.context().manifest.http(origin);
        let answer = if grants.any(|grant| grant.allows(method, request.target())) {
            Ok((rehearsed::response(rehearsal, &request, &action), None))
        } else {
            let reason = format!("the manifest does not allow {method} {}", action.target);
            Err(not_granted(state, "http", origin.as_str(), reason))
        };
        return Pending {
            task: Task::spawn(std::future::ready(Ok(answer))),
        };
    }
    let services = state.services().clone();
    let observer = state.observer();
    let labeller = state.labeller();
    let watch = state.watch().clone();
    let task = Task::spawn(async move {
        let shadow =
            shadow.map(|shadow| (shadow, format!("http {} {}", action.verb, action.target)));
        let sent = async {
            held.in_turn(request.screen(&action, &services.vault, &watch))
                .await
                .map_err(failed)?;
            let permit = services
                .gate
                .check::<kind::Http>(action, &*observer)
                .await
                .inspect_err(|refusal| {
                    if let Some((shadow, told)) = &shadow {
                        shadow.missed(told, &refusal.to_string());
                    }
                })
                .map_err(refused)?;
            drop(observer);
            // A person may have put another request in its place: that one is sent, or none.
            let request = match permit.edited() {
                true => request.amended(permit.action()).map_err(failed)?,
                false => request,
            };
            let sent = services.egress.send(permit, request, &services.vault);
            let sent = held.in_turn(sent).await;
            // Whatever comes from outside may carry instructions, and an error can tell of it, too.
            if !matches!(sent, Err(nexus_effects::Error::Refused(_))) {
                labeller.add([Label::Untrusted]);
            }
            if let (Some((shadow, told)), Ok(response)) = (&shadow, &sent) {
                shadow.saw(&format!("{told}: {}", response.status));
            }
            sent.map_err(failed)
        };
        match sent.await {
            Ok(response) => {
                held.resize(response.size())?;
                Ok(Ok((response, Some(held))))
            }
            Err(error) => Ok(Err(error)),
        }
    });
    Pending { task }
}
