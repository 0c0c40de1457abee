//! `BuildService`: source in, component out, for other hosts and for people.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use nexus_audit::{Event as AuditEvent, EventKind};
use nexus_forge::build::{Built, Error};
use nexus_forge::{Diagnostic, build::Level};
use nexus_manifest::{Digest, error_chain};
use nexus_proto::v1;
use nexus_proto::v1::build_component_response::Event;
use nexus_proto::v1::build_service_server::BuildService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{Events, caller, unlocked};
use crate::convert;
use crate::doors::Rate;
use crate::fault::Fault;
use crate::host::Host;

/// Builds of all clients that may run or wait for a processor.
const AT_ONCE: usize = 16;
/// Builds of all clients: so many at once, and so many a second from then on.
const BURST: u32 = 60;
const PER_SECOND: u32 = 1;
/// Bytes of a component in one message.
const CHUNK: usize = 256 * 1024;

/// See the module.
pub(crate) struct Building {
    host: Host,
    room: Arc<Semaphore>,
    rate: Rate,
}

impl Building {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            rate: Rate::default(),
        }
    }
}

#[tonic::async_trait]
impl BuildService for Building {
    type BuildComponentStream = Events<v1::BuildComponentResponse>;

    async fn build_component(
        &self,
        request: Request<v1::BuildComponentRequest>,
    ) -> Result<Response<Self::BuildComponentStream>, Status> {
        let caller = caller(&request)?;
        unlocked(&self.host)?;
        let v1::BuildComponentRequest { source, manifest } = request.into_inner();
        for (field, text) in [("source", &source), ("manifest", &manifest)] {
            if text.is_empty() {
                return Err(
                    Fault::invalid(field, "a build needs both, source and manifest").into(),
                );
            }
        }
        self.rate.take(PER_SECOND, BURST).map_err(|wait| {
            let message = "this host is asked to build more often than it does; nothing was built";
            Fault::exhausted("RATE_LIMITED", message).retry_after(wait)
        })?;
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            let message = format!("{AT_ONCE} builds run or wait here; nothing was built");
            let wait = std::time::Duration::from_secs(1);
            return Err(Fault::unavailable("OVERLOADED", message)
                .retry_after(wait)
                .into());
        };
        let asked = AuditEvent::new(EventKind::RequestReceived)
            .principal(caller.principal.as_str())
            .detail(serde_json::json!({
                "service": "BuildService", "verb": "build",
                "source_digest": Digest::of(source.as_bytes()),
            }));
        let recorded = self.host.services.audit.write(asked).await;
        recorded.map_err(|error| Fault::internal(&error))?;

        // All of it happens while the stream is read: a client that leaves ends it.
        let host = self.host.clone();
        let begun = stream::once(std::future::ready(Ok(message(Event::Log(
            "the host takes the source".to_owned(),
        )))));
        let built = stream::once(Box::pin(async move {
            let _place = place;
            let built = host.forge.builder().build(&source, &manifest).await;
            tell(built)
        }));
        let told = built.flat_map(stream::iter);
        Ok(Response::new(Box::pin(begun.chain(told))))
    }
}

fn message(event: Event) -> v1::BuildComponentResponse {
    v1::BuildComponentResponse { event: Some(event) }
}

/// What came of a build, as messages.
fn tell(built: Result<Built, Error>) -> Vec<Result<v1::BuildComponentResponse, Status>> {
    let found = |all: &[Diagnostic]| Ok(message(Event::Diagnostics(convert::diagnostics(all))));
    let built = match built {
        Ok(built) => built,
        Err(Error::Rejected(all)) => return vec![found(&all)],
        Err(error @ Error::NotAnAgent(_)) => {
            return vec![found(&[Diagnostic {
                level: Level::Error,
                code: None,
                message: error.to_string(),
                line: 0,
                column: 0,
                rendered: format!("error: {error}"),
            }])];
        }
        Err(error) => return vec![Err(fault(&error).into())],
    };
    let mut told = Vec::new();
    if !built.warnings.is_empty() {
        told.push(found(&built.warnings));
    }
    told.push(Ok(message(Event::Component(v1::ComponentHead {
        component_digest: Digest::of(&built.component).to_string(),
        size_bytes: built.component.len() as u64,
        toolchain: built.toolchain,
        flags: built.flags,
    }))));
    let chunks = built.component.chunks(CHUNK);
    told.extend(chunks.map(|chunk| Ok(message(Event::Chunk(chunk.to_vec())))));
    told
}

fn fault(error: &Error) -> Fault {
    let message = error_chain(error);
    match error {
        Error::SourceTooLarge { .. } => Fault::invalid("source", message),
        Error::Manifest(_) => Fault::invalid_as("INVALID_MANIFEST", "manifest", message),
        Error::ComponentTooLarge { .. } => Fault::exhausted("COMPONENT_TOO_LARGE", message),
        Error::Exhausted { .. } => Fault::exhausted("BUILD_LIMIT", message),
        Error::Toolchain(_) => Fault::precondition("NO_COMPILER", message),
        Error::Sandbox(nexus_sandbox::Error::Unsupported) => {
            Fault::precondition("NO_SANDBOX", message)
        }
        other => Fault::internal(other),
    }
}
