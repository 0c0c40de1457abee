use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_forge::{ForgeId, Stop};
use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_proto::v1::forge_event::{Detail, FailureReason, State as StageState};
use nexus_proto::v1::not_published::Reason;
use nexus_store::Store;
use tokio::sync::watch;

use super::rows;
use crate::convert;
use crate::service::Events;

/// A forge that runs, or has just ended.
pub(crate) struct Live {
    pub(crate) id: ForgeId,
    stop: Stop,
    told: Mutex<Told>,
    /// Changes with every event.
    changed: watch::Sender<()>,
}

struct Told {
    forge: v1::Forge,
    events: Vec<v1::ForgeEvent>,
}

impl Live {
    pub(super) fn new(id: ForgeId, forge: v1::Forge, stop: Stop) -> Self {
        let events = Vec::new();
        Self {
            id,
            stop,
            told: Mutex::new(Told { forge, events }),
            changed: watch::Sender::new(()),
        }
    }

    /// Where it stands.
    pub(crate) fn forge(&self) -> v1::Forge {
        self.lock().forge.clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        has_ended(&self.lock().forge)
    }

    /// Cancels it.
    pub(crate) fn stop(&self) {
        self.stop.stop();
    }

    /// Waits until it stands as `wanted` wants, or has ended.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(State) -> bool) -> v1::Forge {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let forge = self.forge();
            if has_ended(&forge) || wanted(forge.state()) {
                return forge;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// Its events, from the one after `after` to the last.
    pub(crate) fn follow(self: Arc<Self>, after: u64) -> Events<v1::ForgeEvent> {
        let changed = self.changed.subscribe();
        let place = usize::try_from(after).unwrap_or(usize::MAX);
        let from = (self, changed, place);
        Box::pin(futures::stream::unfold(
            from,
            |(live, mut changed, place)| async move {
                loop {
                    changed.mark_unchanged();
                    let (event, ended) = {
                        let told = live.lock();
                        (told.events.get(place).cloned(), has_ended(&told.forge))
                    };
                    if let Some(event) = event {
                        return Some((Ok(event), (live, changed, place + 1)));
                    }
                    if ended {
                        return None;
                    }
                    changed.changed().await.ok()?;
                }
            },
        ))
    }

    /// Keeps these events, and lets them be known. Whether they are kept: on a full disk they are
    /// told all the same, and forgotten with this process.
    pub(super) async fn tell(&self, store: &dyn Store, events: &[nexus_forge::Event]) -> bool {
        let mut forge = self.forge();
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            let wire = convert::forge_event(&forge.name, event);
            forge.state = state(&wire, event.last).into();
            if event.last {
                forge.end_time = Some(convert::now());
            }
            forge.last_event = Some(wire.clone());
            told.push(wire);
        }
        self.keep(store, forge, told).await
    }

    /// Ends a forge that said nothing of its end.
    pub(super) async fn tell_failed(&self, store: &dyn Store) -> bool {
        let mut forge = self.forge();
        let words = "the host failed at this forge; its log says why".to_owned();
        let mut event = last_event(&forge, StageState::Failed, Some(Detail::Failure(words)));
        event.set_failure_reason(FailureReason::Host);
        end(&mut forge, State::Failed, event.clone());
        self.keep(store, forge, vec![event]).await
    }

    async fn keep(&self, store: &dyn Store, forge: v1::Forge, events: Vec<v1::ForgeEvent>) -> bool {
        let kept = rows::write(store, self.id, &forge, &events).await;
        if let Err(error) = &kept {
            tracing::warn!(%error, forge = %self.id, "what a forge tells is not kept");
        }
        {
            let mut told = self.lock();
            told.forge = forge;
            told.events.extend(events);
        }
        self.changed.send_replace(());
        kept.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing comes of it any more.
pub(super) fn has_ended(forge: &v1::Forge) -> bool {
    !matches!(forge.state(), State::Running | State::Waiting)
}

/// The event after the last one of `forge`, in the same stage.
pub(super) fn last_event(
    forge: &v1::Forge,
    state: StageState,
    detail: Option<Detail>,
) -> v1::ForgeEvent {
    let before = forge.last_event.clone().unwrap_or_default();
    v1::ForgeEvent {
        sequence: before.sequence + 1,
        stage: match before.stage() {
            v1::forge_event::Stage::Unspecified => v1::forge_event::Stage::Spec.into(),
            stage => stage.into(),
        },
        state: state.into(),
        start_time: before.start_time.or(forge.create_time),
        duration: None,
        detail,
        forge: forge.name.clone(),
        failure_reason: FailureReason::Unspecified.into(),
    }
}

/// Ends `forge` with this event.
pub(super) fn end(forge: &mut v1::Forge, state: State, event: v1::ForgeEvent) {
    forge.state = state.into();
    forge.end_time = Some(convert::now());
    forge.last_event = Some(event);
}

/// Where a forge stands after this event.
fn state(event: &v1::ForgeEvent, last: bool) -> State {
    match (event.state(), &event.detail) {
        (StageState::Stopped, Some(Detail::Review(_))) => State::Waiting,
        _ if !last => State::Running,
        (StageState::Succeeded, _) => State::Succeeded,
        (StageState::Cancelled, _) => State::Cancelled,
        (_, Some(Detail::NeedsParameters(_))) => State::NeedsParameters,
        (_, Some(Detail::NotPublished(not))) if not.reason() == Reason::HotReloadOff => State::Held,
        _ => State::Failed,
    }
}
