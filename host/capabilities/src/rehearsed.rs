//! What capabilities answer while a component is tried with an example. Nothing here asks the gate,
//! and nothing has an effect.

use std::collections::BTreeSet;

use bytes::Bytes;
use nexus_effects::http as egress;
use nexus_effects::memory::{Call, Entry};
use nexus_gate::{Action, EffectClass, class_of, kind};
use nexus_manifest::SpaceName;
use nexus_runtime::{Rehearsal, State};

/// The answer to a request; one that is more than a read is written down.
pub(crate) fn response(
    rehearsal: &Rehearsal,
    request: &egress::Request,
    action: &Action,
) -> egress::Response {
    if class_of::<kind::Http>(action) > EffectClass::Read {
        rehearsal.plan(action);
    }
    let recorded = rehearsal.response(request.method(), &action.target);
    egress::Response {
        status: recorded.status,
        headers: vec![(
            "content-type".to_owned(),
            recorded.content_type.into_bytes(),
        )],
        body: Bytes::from(recorded.body),
    }
}

/// Writes down a call that changes memory.
pub(crate) fn plan(state: &mut State, rehearsal: &Rehearsal, call: &Call) {
    let sequence = state.next_sequence();
    let action = call.action(state.context().clone(), sequence, state.labels());
    rehearsal.plan(&action);
}

/// The entries of a space, and where the next page begins.
pub(crate) fn scan(
    rehearsal: &Rehearsal,
    space: &SpaceName,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> (Vec<Entry>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = rehearsal.scan(space, prefix, after, limit.saturating_add(1));
    let more = found.len() > limit;
    found.truncate(limit);
    let entries: Vec<Entry> = found
        .into_iter()
        .map(|(key, entry)| of(key, entry))
        .collect();
    let next = entries.last().filter(|_| more).map(|last| last.key.clone());
    (entries, next)
}

/// An entry as memory would give it.
pub(crate) fn of(key: String, (value, revision): nexus_runtime::Remembered) -> Entry {
    Entry {
        key,
        value,
        revision,
        labels: BTreeSet::new(),
    }
}
