//! A component arriving in chunks.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nexus_manifest::{AgentName, Digest};
use nexus_proto::v1;
use nexus_proto::v1::deploy_agent_request::Payload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, Streaming};

use crate::auth::Caller;
use crate::fault::Fault;
use crate::names;

/// The largest component, in bytes.
pub(crate) const MAX_COMPONENT: usize = 32 << 20;

/// Components that are held at once, on their way in and until they are compiled.
const PLACES: usize = 8;
/// The places of uploads.
#[derive(Clone)]
pub(crate) struct Uploads(Arc<Semaphore>);

impl Default for Uploads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

/// One of these places, and one of those that its principal may have.
pub(super) struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Uploads {
    /// A place, as soon as there is one. Whoever has its share waits for that first, and takes up no
    /// place of others.
    async fn place(&self, caller: &Caller) -> Place {
        // Never closed; if they were, there would be nothing to wait for.
        Place {
            _own: Arc::clone(&caller.share.uploads).acquire_owned().await.ok(),
            _turn: Arc::clone(&self.0).acquire_owned().await.ok(),
        }
    }
}

/// A complete upload.
pub(super) struct Upload {
    pub(super) component: Bytes,
    /// The agent that the caller means to replace, if it said so.
    pub(super) agent: Option<AgentName>,
    /// The permissions that the caller has accepted, if any.
    pub(super) permissions_digest: String,
    /// What the client calls this upload, if it does.
    pub(super) request_id: String,
    /// To be kept for as long as the component is.
    pub(super) place: Place,
}

impl Upload {
    /// Of all that is asked, the request's name left out.
    pub(super) fn digest(&self) -> Digest {
        let agent = self.agent.as_ref().map_or("", AgentName::as_str);
        Digest::of_parts([
            agent.as_bytes(),
            self.permissions_digest.as_bytes(),
            &self.component,
        ])
    }
}

/// Reads an upload to its end, as soon as there is a place for it. Whatever is wrong with it, nothing
/// of it stays.
pub(super) async fn receive(
    mut stream: Streaming<v1::DeployAgentRequest>,
    uploads: &Uploads,
    caller: &Caller,
) -> Result<Upload, Status> {
    let place = uploads.place(caller).await;
    let first = stream.message().await?.and_then(|message| message.payload);
    let Some(Payload::Metadata(metadata)) = first else {
        return Err(Fault::invalid(
            "metadata",
            "send the metadata first, then the component in chunks",
        )
        .into());
    };
    let mut component = BytesMut::new();
    while let Some(message) = stream.message().await? {
        let Some(Payload::Chunk(chunk)) = message.payload else {
            return Err(
                Fault::invalid("chunk", "after the metadata only chunks may follow").into(),
            );
        };
        if component.len() + chunk.len() > MAX_COMPONENT {
            let message = format!(
                "the component is larger than {} MiB; build it with opt-level = \"s\" and strip = true",
                MAX_COMPONENT >> 20
            );
            return Err(Fault::exhausted("COMPONENT_TOO_LARGE", message).into());
        }
        component.extend_from_slice(&chunk);
    }
    let agent = names::agent_filter("metadata.agent", &metadata.agent)?;
    Ok(Upload {
        component: component.freeze(),
        agent,
        permissions_digest: metadata.permissions_digest,
        request_id: metadata.request_id,
        place,
    })
}
