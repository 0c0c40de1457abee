//! What capabilities answer while a component is tried with an example. Nothing here asks the gate,
//! and nothing has an effect.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nexus_effects::http as egress;
use nexus_effects::memory::{Call, Entry, Page};
use nexus_gate::{Action, EffectClass, class_of, kind};
use nexus_manifest::SpaceName;
use nexus_runtime::{Rehearsal, State};

/// The answer to a request; one that is more than a read is written down.
pub(crate) fn response(
    rehearsal: &Rehearsal,
    request: &egress::Request,
    action: &Action,
) -> egress::Response {
    if rehearsal.is_shadow() || class_of::<kind::Http>(action) > EffectClass::Read {
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

/// Whether a shadow run does this for real: nothing but a look, by the request's own nature.
pub(crate) fn is_real(request: &egress::Request, action: &Action) -> bool {
    request.method().is_read()
        && request.placements().is_empty()
        && class_of::<kind::Http>(action) == EffectClass::Read
}

/// A page of memory with what a shadow run has made of it meanwhile.
pub(crate) fn over(
    rehearsal: &Rehearsal,
    (space, prefix, after): (&SpaceName, &str, Option<&str>),
    page: Page,
) -> Page {
    let last = page.next.clone();
    let mut entries: BTreeMap<String, Entry> = page
        .entries
        .into_iter()
        .map(|entry| (entry.key.clone(), entry))
        .collect();
    for (key, made) in rehearsal.touched(space, prefix, after) {
        // What comes after the page is on the next one.
        if last.as_ref().is_some_and(|last| key > *last) {
            continue;
        }
        match made {
            Some(made) => entries.insert(key.clone(), of(key, made)),
            None => entries.remove(&key),
        };
    }
    Page {
        entries: entries.into_values().collect(),
        next: last,
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
