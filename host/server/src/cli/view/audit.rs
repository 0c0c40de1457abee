use nexus_proto::v1::{Checkpoint, Event};

use crate::cli::text::{Table, fields, id, line, time};

/// The events, one line each.
pub(crate) fn list(events: &[Event]) -> String {
    let mut table = Table::new([
        "SEQUENCE",
        "TIME",
        "KIND",
        "PRINCIPAL",
        "AGENT",
        "OUTCOME",
        "DETAIL",
    ]);
    for event in events {
        table.row([
            event.sequence.to_string(),
            time(event.event_time.as_ref()),
            event.kind.clone(),
            event.principal.clone(),
            id(&event.agent).to_owned(),
            event.outcome.clone(),
            detail(event),
        ]);
    }
    table.to_string()
}

/// One event on one line, for a stream.
pub(crate) fn next(event: &Event) -> String {
    line(&format!(
        "{}  {}  {}  {}  {}  {}  {}",
        event.sequence,
        time(event.event_time.as_ref()),
        event.kind,
        event.principal,
        id(&event.agent),
        event.outcome,
        detail(event)
    ))
}

fn detail(event: &Event) -> String {
    match event.detail.as_str() {
        "{}" | "null" => String::new(),
        detail => detail.to_owned(),
    }
}

/// A checkpoint with all that it takes to verify it.
pub(crate) fn checkpoint(checkpoint: &Checkpoint) -> String {
    fields([
        ("sequence", checkpoint.sequence.to_string()),
        ("hash", hex::encode(&checkpoint.hash)),
        ("signed", time(checkpoint.create_time.as_ref())),
        ("key", checkpoint.key_id.clone()),
        ("verifying key", hex::encode(&checkpoint.verifying_key)),
        ("signature", hex::encode(&checkpoint.signature)),
    ])
}
