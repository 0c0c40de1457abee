//! Effects of which a dead host knows no end.

use std::collections::BTreeMap;

use nexus_audit::{Event, EventKind};
use nexus_store::Commit;

use crate::EffectClass;
use crate::gate::Inner;

/// The newest records that are looked through: an effect takes seconds, and fewer than these are written
/// while it does.
const RECENT: usize = 20_000;

impl Inner {
    /// Records of every write that had begun when the host died that its end is unknown: it may have
    /// happened. A host that ended as it should has left none.
    pub(crate) async fn tell_unfinished(&self) -> Result<(), String> {
        // Most hosts end as they should, and little more than a checkpoint comes after that.
        let last = self.newest(8).await?;
        let stopped = last
            .iter()
            .rposition(|event| event.kind == EventKind::HostStopped);
        if stopped.is_some_and(|at| !last[at..].iter().any(begins)) {
            return Ok(());
        }
        let begun = unfinished(self.newest(RECENT).await?);
        if begun.is_empty() {
            return Ok(());
        }
        let mut commit = Commit::new();
        for event in begun {
            let unknown = Event {
                time_ms: nexus_store::now_ms(),
                kind: EventKind::EffectUnknown,
                ..event
            };
            let unknown = unknown.outcome("the host ended while it ran");
            self.audit.append(&mut commit, unknown);
        }
        commit.urgent();
        let written = self.store.commit(commit).await;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// The newest events of the trail, in their order.
    async fn newest(&self, count: usize) -> Result<Vec<Event>, String> {
        let head = self.audit.head().await.map_err(|error| error.to_string())?;
        let from = (head.sequence + 1).saturating_sub(count as u64).max(1);
        let records = self.audit.events(from, count).await;
        let records = records.map_err(|error| error.to_string())?;
        Ok(records.into_iter().map(|record| record.event).collect())
    }
}

/// Whether a write begins.
fn begins(event: &Event) -> bool {
    event.kind == EventKind::EffectStarted && event.detail["class"] != EffectClass::Read.as_str()
}

/// The writes that have begun since the last start and have no end.
fn unfinished(events: Vec<Event>) -> Vec<Event> {
    let mut begun = BTreeMap::new();
    for event in events {
        let call = (event.invocation.clone(), event.sequence, event.action);
        match event.kind {
            // Whatever came before was told of by the start that this is.
            EventKind::HostStarted => begun.clear(),
            _ if begins(&event) => {
                begun.insert(call, event);
            }
            EventKind::EffectFinished | EventKind::EffectUnknown => {
                begun.remove(&call);
            }
            _ => {}
        }
    }
    begun.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: EventKind, call: u64, class: &str) -> Event {
        let event = Event::new(kind).invocation("inv-1").sequence(call);
        event.detail(json!({ "class": class }))
    }

    #[test]
    fn writes_without_an_end_are_those_of_the_last_run() {
        use EventKind::{EffectFinished, EffectStarted, EffectUnknown, HostStarted};
        let of = |kind, call| event(kind, call, "external");
        let trail = vec![
            of(EffectStarted, 1),
            Event::new(HostStarted),
            of(EffectStarted, 2),
            of(EffectStarted, 3),
            of(EffectFinished, 2),
            event(EffectStarted, 4, "read"),
            of(EffectStarted, 5),
            of(EffectUnknown, 5),
        ];
        let left: Vec<_> = unfinished(trail).iter().map(|it| it.sequence).collect();
        assert_eq!(left, [Some(3)]);
    }
}
