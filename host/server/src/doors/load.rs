//! How much at once: what is too much is refused at the door, before it costs anything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use nexus_proto::DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rate::Rate;
use crate::config;

/// Calls that are let in however full the house is: they are what one needs then.
const EXEMPT: [&str; 4] = [
    "/nexus.v1.SystemService/EngageLock",
    "/nexus.v1.SystemService/ReleaseLock",
    "/nexus.v1.SystemService/RevokeToken",
    "/grpc.health.v1.Health/Check",
];

/// KiB of components of one principal that are on their way in at once.
const UPLOADS_EACH: usize = 128 * 1024;
/// Streams of those who need no token: probes that watch, and reflection.
const STRANGERS: usize = 64;

/// Room for calls, and room of their own for streams, which may stay for ever, and for those whom
/// nobody knows.
#[derive(Clone)]
pub(crate) struct Load {
    calls: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// Of one principal.
    calls_each: usize,
    streams_each: usize,
}

/// What a principal takes up of the host, with all its tokens.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) rate: Rate,
    calls: AtomicUsize,
    streams: AtomicUsize,
    /// KiB of components on their way in.
    pub(crate) uploads: Arc<Semaphore>,
}

/// One thing of a principal's, for as long as it is there.
#[derive(Debug)]
struct Part {
    share: Arc<Share>,
    of: fn(&Share) -> &AtomicUsize,
}

/// A place in the house, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _room: OwnedSemaphorePermit,
    _part: Option<Part>,
}

/// No room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Default for Share {
    fn default() -> Self {
        Self {
            rate: Rate::default(),
            calls: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            uploads: Arc::new(Semaphore::new(UPLOADS_EACH)),
        }
    }
}

impl Part {
    fn take(share: &Arc<Share>, of: fn(&Share) -> &AtomicUsize, most: usize) -> Result<Self, Full> {
        let part = Self {
            share: Arc::clone(share),
            of,
        };
        // Dropping it takes it back.
        match of(share).fetch_add(1, Ordering::Relaxed) < most {
            true => Ok(part),
            false => Err(Full),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        (self.of)(&self.share).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    pub(crate) fn new(config: &config::Server) -> Self {
        let room = |room: usize| Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS)));
        Self {
            calls: room(config.concurrent_calls),
            watches: room(config.concurrent_streams),
            strangers: room(STRANGERS),
            calls_each: config.calls_per_principal,
            streams_each: config.streams_per_principal,
        }
    }

    /// A place for this call until it is dropped; none is needed for what is exempt.
    pub(crate) fn admit(&self, path: &str, streams: bool) -> Result<Option<Place>, Full> {
        if exempt(path) {
            return Ok(None);
        }
        let room = match streams {
            true if needs_no_token(path) => &self.strangers,
            true => &self.watches,
            false => &self.calls,
        };
        let room = Arc::clone(room).try_acquire_owned().map_err(|_| Full)?;
        Ok(Some(Place {
            _room: room,
            _part: None,
        }))
    }
}

impl Place {
    /// The place, if its principal may have one more.
    pub(crate) fn of(self, share: &Arc<Share>, streams: bool, load: &Load) -> Result<Self, Full> {
        let part = match streams {
            true => Part::take(share, |share| &share.streams, load.streams_each),
            false => Part::take(share, |share| &share.calls, load.calls_each),
        };
        Ok(Self {
            _part: Some(part?),
            ..self
        })
    }
}

/// Whether this method says nothing that the protos do not say.
pub(crate) fn needs_no_token(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.")
}

/// Whether neither load nor rate holds this call up.
pub(crate) fn exempt(path: &str) -> bool {
    EXEMPT.contains(&path)
}

/// The methods of the host's own services of which this is true.
fn methods(wanted: impl Fn(&MethodDescriptorProto) -> bool) -> Vec<String> {
    let set = FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap_or_default();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let methods = service.method.iter().filter(|method| wanted(method));
            paths.extend(
                methods.map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }),
            );
        }
    }
    paths
}

/// Whether a client may send this method one message after the other, for as long as it likes.
pub(crate) fn uploads(path: &str) -> bool {
    static UPLOADS: LazyLock<Vec<String>> =
        LazyLock::new(|| methods(MethodDescriptorProto::client_streaming));
    UPLOADS.iter().any(|upload| upload == path) || path.starts_with("/grpc.reflection.")
}

/// Whether the host answers this method with a stream.
pub(crate) fn streams(path: &str) -> bool {
    // Found in the descriptors once; what they do not know is reflection and health.
    static STREAMS: LazyLock<Vec<String>> =
        LazyLock::new(|| methods(MethodDescriptorProto::server_streaming));
    STREAMS.iter().any(|stream| stream == path)
        || path.starts_with("/grpc.reflection.")
        || path == "/grpc.health.v1.Health/Watch"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(calls: usize, streams: usize) -> Load {
        Load::new(&config::Server {
            concurrent_calls: calls,
            concurrent_streams: streams,
            calls_per_principal: 1,
            streams_per_principal: 1,
            ..config::Server::default()
        })
    }

    #[test]
    fn calls_and_streams_have_room_of_their_own_and_the_lock_needs_none() {
        let load = load(1, 1);
        let call = "/nexus.v1.AgentService/GetAgent";
        let watch = "/nexus.v1.AgentService/WatchAgents";
        let admit = |path| load.admit(path, streams(path));
        let first = admit(call).expect("room");
        assert_eq!(admit(call).err(), Some(Full));
        let _watching = admit(watch).expect("room");
        assert_eq!(admit(watch).err(), Some(Full));
        for path in EXEMPT {
            assert!(admit(path).is_ok(), "{path}");
        }
        assert!(
            admit("/grpc.health.v1.Health/Watch").is_ok(),
            "strangers have their own"
        );
        drop(first);
        assert!(admit(call).is_ok());
    }

    #[test]
    fn a_principal_has_its_share_and_what_it_gives_back() {
        let load = load(9, 9);
        let (bob, carol) = (Arc::<Share>::default(), Arc::<Share>::default());
        let admit = |share: &Arc<Share>, streams| {
            let place = load.admit("/nexus.v1.AgentService/GetAgent", streams);
            place
                .expect("room")
                .expect("not exempt")
                .of(share, streams, &load)
        };
        let first = admit(&bob, false).expect("the first");
        assert_eq!(admit(&bob, false).err(), Some(Full));
        assert!(admit(&bob, true).is_ok());
        assert!(admit(&carol, false).is_ok());
        drop(first);
        assert!(admit(&bob, false).is_ok());
    }

    #[test]
    fn only_components_arrive_in_many_messages() {
        assert!(uploads("/nexus.v1.AgentService/DeployAgent"));
        assert!(!uploads("/nexus.v1.ForgeService/ForgeAgent"));
        assert!(!uploads("/nexus.v1.InvocationService/InvokeAgent"));
    }
}
