//! Forges that their clients have named: what one has told so far, for all who ask for it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use nexus_forge::{Forge, Request};
use nexus_gate::Principal;
use nexus_manifest::Digest;
use nexus_proto::v1;
use prost::Message as _;
use tokio::sync::watch;
use tonic::Status;

use crate::convert;
use crate::fault::Fault;
use crate::requests::{Entered, Requests};
use crate::service::Events;

/// The events of a forge, kept while it runs.
pub(crate) struct Told {
    events: Mutex<Vec<v1::ForgeEvent>>,
    /// Whether that was the last one; changes with each.
    ended: watch::Sender<bool>,
}

impl Told {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            ended: watch::Sender::new(false),
        })
    }

    fn tell(&self, event: v1::ForgeEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
        drop(events);
        self.ended.send_replace(false);
    }

    fn at(&self, place: usize) -> Option<v1::ForgeEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(place).cloned()
    }

    /// From the first event on, to the last.
    fn follow(self: Arc<Self>) -> Events<v1::ForgeEvent> {
        let ended = self.ended.subscribe();
        Box::pin(futures::stream::unfold(
            (self, ended, 0),
            |(told, mut ended, place)| async move {
                loop {
                    let last = *ended.borrow_and_update();
                    if let Some(event) = told.at(place) {
                        return Some((Ok(event), (told, ended, place + 1)));
                    }
                    if last {
                        return None;
                    }
                    ended.changed().await.ok()?;
                }
            },
        ))
    }
}

/// Ends what is told, even if the forge has panicked.
struct End(Arc<Told>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

/// Forges once: a repeat follows the forge that runs, or hears how it ended.
pub(super) async fn once(
    forge: Forge,
    forges: Requests<Arc<Told>>,
    principal: Principal,
    id: String,
    digest: Digest,
    request: Request,
) -> Result<Events<v1::ForgeEvent>, Status> {
    // On a task of its own: what is claimed is also forged, though the client leaves meanwhile.
    let entered = tokio::spawn(async move {
        let told = Told::new();
        let claim = match forges
            .enter(&principal, &id, digest, Arc::clone(&told))
            .await?
        {
            Entered::First(claim) => claim,
            Entered::Running(told) => return Ok(told.follow()),
            Entered::Answered(bytes) => {
                let last = v1::ForgeEvent::decode(&*bytes);
                let last = last.map_err(|error| Status::from(Fault::internal(&error)))?;
                let stream: Events<_> = Box::pin(futures::stream::iter([Ok(last)]));
                return Ok(stream);
            }
        };
        let end = End(Arc::clone(&told));
        let mut events = forge.forge(request);
        tokio::spawn(async move {
            let mut last = None;
            while let Some(event) = events.next().await {
                let event = convert::forge_event(&event);
                last = Some(event.clone());
                end.0.tell(event);
            }
            match last {
                Some(last) => claim.answer(&last.encode_to_vec()).await,
                None => claim.forget().await,
            }
            drop(end);
        });
        Ok(told.follow())
    });
    match entered.await {
        Ok(entered) => entered,
        Err(error) => Err(Fault::internal(&error).into()),
    }
}

/// Of all that is asked, the request's name left out.
pub(super) fn digest(request: &v1::ForgeAgentRequest) -> Digest {
    let mut parts: Vec<Vec<u8>> = vec![
        request.agent_id.clone().into_bytes(),
        request.words.clone().into_bytes(),
        request.mode.to_be_bytes().to_vec(),
        request.template.clone().into_bytes(),
        request.source.clone().into_bytes(),
        request.manifest.clone().into_bytes(),
        vec![u8::from(request.validate_only)],
    ];
    parts.push((request.parameters.len() as u64).to_be_bytes().to_vec());
    parts.extend(
        request
            .parameters
            .iter()
            .map(v1::InputParameter::encode_to_vec),
    );
    // A map has no order of its own.
    let mut set: Vec<_> = request.set.iter().collect();
    set.sort();
    for (key, value) in set {
        parts.extend([key.clone().into_bytes(), value.clone().into_bytes()]);
    }
    Digest::of_parts(parts.iter().map(Vec::as_slice))
}
