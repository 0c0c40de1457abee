//! Publishing what was built while hot reload was off.

use std::time::Instant;

use nexus_audit::{Event, EventKind};
use nexus_forge::{Forged, ForgedState};
use nexus_manifest::{AgentName, Digest, DigestError};
use nexus_proto::v1;
use nexus_proto::v1::trigger_hot_reload_response::State;
use nexus_runtime::Publish;
use serde_json::json;
use tonic::Status;

use crate::auth::Caller;
use crate::fault::Fault;
use crate::host::Host;
use crate::publish::{self, Change, Published};
use crate::{convert, names};

/// Publishes a forged component, or begins its review. The agent stays that of whoever had it forged;
/// the trail says who has triggered it.
pub(super) async fn trigger(
    host: Host,
    request: v1::TriggerHotReloadRequest,
    caller: Caller,
) -> Result<v1::TriggerHotReloadResponse, Status> {
    let agent = names::agent("name", &request.name)?;
    let forged = candidate(&host, &agent, &request.component_digest).await?;
    if let Some(live) = host.runtime.get(&agent)
        && live.digest == forged.component
    {
        return Ok(v1::TriggerHotReloadResponse {
            state: State::Live.into(),
            permissions: convert::permissions(&live.manifest),
            permissions_digest: live.permissions_digest().to_string(),
            agent: Some(convert::agent(&live)),
            forged_agent: Some(convert::forged_agent(&forged)),
            load_duration: Some(prost_types::Duration::default()),
            ..v1::TriggerHotReloadResponse::default()
        });
    }

    let began = Instant::now();
    let component = host.runtime.component(&forged.component).await;
    let component = component.map_err(|error| Fault::internal(&error))?;
    let prepared = host.runtime.prepare(component).await;
    let prepared = prepared.map_err(publish::refuse_component)?;
    let lineage = host.forge.lineage(&forged.component).await;
    let lineage = lineage.map_err(|error| Fault::internal(&error))?;
    let asked = Event::new(EventKind::RequestReceived)
        .principal(caller.principal.as_str())
        .agent(agent.clone())
        .detail(json!({
            "service": "ForgeService", "verb": "trigger", "component": forged.component,
        }));
    let recorded = host.services.audit.write(asked).await;
    recorded.map_err(|error| Fault::internal(&error))?;
    let publish = Publish {
        lineage: lineage.map(|lineage| {
            let source = Digest::of(lineage.source.as_bytes());
            json!({ "mode": lineage.mode, "source_digest": source })
        }),
        ..Publish::by(forged.principal.clone())
    };
    let manifest = prepared.manifest.clone();
    let permissions = convert::permissions(&manifest);
    let permissions_digest = prepared.permissions_digest.to_string();
    match publish::begin(&host, Change::Upload(prepared, publish)).await? {
        Published::Live(live) => {
            let forged = noted(&host, &forged).await?;
            Ok(v1::TriggerHotReloadResponse {
                state: State::Live.into(),
                agent: Some(convert::agent(&live)),
                forged_agent: Some(convert::forged_agent(&forged)),
                permissions,
                permissions_digest,
                load_duration: Some(convert::duration(began.elapsed())),
                ..v1::TriggerHotReloadResponse::default()
            })
        }
        Published::Review(review) => {
            let answer = v1::TriggerHotReloadResponse {
                state: State::Review.into(),
                agent: host.runtime.get(&agent).map(|live| convert::agent(&live)),
                forged_agent: Some(convert::forged_agent(&forged)),
                approval: format!("approvals/{}", review.approval),
                permissions,
                permissions_digest,
                load_duration: Some(convert::duration(began.elapsed())),
            };
            // The person may take their time; what they decide is noted whoever waits for it.
            tokio::spawn(async move {
                if publish::finish(review.done).await.is_ok()
                    && let Err(status) = noted(&host, &forged).await
                {
                    tracing::warn!(%status, "a triggered component is live, and listed as held");
                }
            });
            Ok(answer)
        }
    }
}

/// What is meant, if it can be published.
async fn candidate(host: &Host, agent: &AgentName, digest: &str) -> Result<Forged, Status> {
    let digest =
        match digest {
            "" => None,
            text => Some(text.parse::<Digest>().map_err(|error: DigestError| {
                Fault::invalid("component_digest", error.to_string())
            })?),
        };
    let found = host.forge.newest(agent, digest.as_ref()).await;
    let found = found.map_err(|error| Fault::internal(&error))?;
    let Some(forged) = found else {
        let name = names::of_agent(agent);
        return Err(Fault::not_found("forged agent", &name, "ListForgedAgents shows them").into());
    };
    let why = match forged.state {
        ForgedState::Held | ForgedState::Published => return Ok(forged),
        ForgedState::Review => "waits for a person; decide its approval",
        ForgedState::Refused => "was not agreed to; forge it again to ask once more",
    };
    let message = format!("what was forged as {agent} {why}");
    Err(Fault::precondition("NOT_HELD", message).into())
}

async fn noted(host: &Host, forged: &Forged) -> Result<Forged, Status> {
    let noted = host.forge.note_published(forged).await;
    noted.map_err(|error| Fault::internal(&error).into())
}
