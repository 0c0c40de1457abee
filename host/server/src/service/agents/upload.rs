//! A component arriving in chunks.

use std::sync::Arc;
use std::time::Duration;

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

/// KiB of components that are held at once, on their way in and until they are compiled.
const ROOM: usize = 256 * 1024;
/// How long a client waits that finds no room.
const LATER: Duration = Duration::from_secs(1);

/// The room for uploads. Nobody waits for it: an upload that is not read would keep everything else of
/// its connection from arriving.
#[derive(Clone)]
pub(crate) struct Uploads(Arc<Semaphore>);

impl Default for Uploads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

/// What an upload takes up of the room, and of that of its principal.
#[derive(Default)]
pub(super) struct Place(Vec<OwnedSemaphorePermit>);

impl Place {
    /// Takes up as much more as a chunk of this length needs.
    fn grow(&mut self, bytes: usize, uploads: &Uploads, caller: &Caller) -> Result<(), Box<Fault>> {
        let need = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let own = Arc::clone(&caller.share.uploads).try_acquire_many_owned(need);
        let own = own.map_err(|_| {
            let message = format!(
                "{} uploads as much at once as one principal may; come again when some has arrived",
                caller.principal
            );
            Box::new(Fault::exhausted("SHARE_USED_UP", message).retry_after(LATER))
        })?;
        let all = Arc::clone(&uploads.0).try_acquire_many_owned(need);
        let all = all.map_err(|_| {
            let message =
                "as much is uploaded to the host at once as may be; come again in a second";
            Box::new(Fault::unavailable("OVERLOADED", message).retry_after(LATER))
        })?;
        self.0.extend([own, all]);
        Ok(())
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

/// Reads an upload to its end, if there is room for it. Whatever is wrong with it, nothing of it stays.
pub(super) async fn receive(
    mut stream: Streaming<v1::DeployAgentRequest>,
    uploads: &Uploads,
    caller: &Caller,
) -> Result<Upload, Status> {
    let mut place = Place::default();
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
        place
            .grow(chunk.len(), uploads, caller)
            .map_err(|fault| *fault)?;
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
