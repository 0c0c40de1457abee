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
        let head = self.audit.head().await.map_err(|error| error.to_string())?;
        let from = (head.sequence + 1).saturating_sub(RECENT as u64).max(1);
        let records = self.audit.events(from, RECENT).await;
        let records = records.map_err(|error| error.to_string())?;
        let begun = unfinished(records.into_iter().map(|record| record.event));
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
}

/// The writes that have begun since the last start and have no end.
fn unfinished(events: impl Iterator<Item = Event>) -> Vec<Event> {
    let mut begun = BTreeMap::new();
    for event in events {
        let call = (event.invocation.clone(), event.sequence, event.action);
        match event.kind {
            // Whatever came before was told of by the start that this is.
            EventKind::HostStarted => begun.clear(),
            EventKind::EffectStarted if event.detail["class"] != EffectClass::Read.as_str() => {
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
