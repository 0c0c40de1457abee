//! How much at once: what is too much is refused at the door, before it costs anything.

use std::sync::{Arc, LazyLock};

use nexus_proto::DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls that are let in however full the house is: they are what one needs then.
const EXEMPT: [&str; 4] = [
    "/nexus.v1.SystemService/EngageLock",
    "/nexus.v1.SystemService/ReleaseLock",
    "/nexus.v1.SystemService/RevokeToken",
    "/grpc.health.v1.Health/Check",
];

/// Room for calls, and room of their own for streams, which may stay for ever.
#[derive(Clone)]
pub(crate) struct Load {
    calls: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

/// No room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Load {
    pub(crate) fn new(calls: usize, watches: usize) -> Self {
        let room = |room: usize| Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS)));
        Self {
            calls: room(calls),
            watches: room(watches),
        }
    }

    /// A place for this call until it is dropped; none is needed for what is exempt.
    pub(crate) fn admit(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Full> {
        if exempt(path) {
            return Ok(None);
        }
        let room = if streams(path) {
            &self.watches
        } else {
            &self.calls
        };
        let place = Arc::clone(room).try_acquire_owned();
        place.map(Some).map_err(|_| Full)
    }
}

/// Whether neither load nor rate holds this call up.
pub(crate) fn exempt(path: &str) -> bool {
    EXEMPT.contains(&path)
}

/// Whether the host answers this method with a stream.
pub(crate) fn streams(path: &str) -> bool {
    // Found in the descriptors once; what they do not know is reflection and health.
    static STREAMS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let set = FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap_or_default();
        let mut paths = Vec::new();
        for file in &set.file {
            for service in &file.service {
                let streaming = service
                    .method
                    .iter()
                    .filter(|method| method.server_streaming());
                paths.extend(streaming.map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }));
            }
        }
        paths
    });
    STREAMS.iter().any(|stream| stream == path)
        || path.starts_with("/grpc.reflection.")
        || path == "/grpc.health.v1.Health/Watch"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_streams_have_room_of_their_own_and_the_lock_needs_none() {
        let load = Load::new(1, 1);
        let call = "/nexus.v1.AgentService/GetAgent";
        let watch = "/nexus.v1.AgentService/WatchAgents";
        let first = load.admit(call).expect("room");
        assert_eq!(load.admit(call).err(), Some(Full));
        let _watching = load.admit(watch).expect("room");
        assert_eq!(load.admit(watch).err(), Some(Full));
        for path in EXEMPT {
            assert!(load.admit(path).is_ok(), "{path}");
        }
        drop(first);
        assert!(load.admit(call).is_ok());
    }
}
