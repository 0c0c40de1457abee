use std::io::IsTerminal as _;

use nexus_proto::v1::{Checkpoint, Event};

use crate::cli::text::{Table, fields, id, line, time};

/// How much of a detail a terminal gets to see; `--output json` has all of it.
const SHORT: usize = 60;

/// The events, one line each. On a terminal long details are cut, so that the columns stay columns.
pub(crate) fn list(events: &[Event]) -> String {
    let most = match std::io::stdout().is_terminal() {
        true => SHORT,
        false => usize::MAX,
    };
    list_within(events, most)
}

fn list_within(events: &[Event], most: usize) -> String {
    let mut table = Table::new([
        "SEQUENCE",
        "TIME",
        "KIND",
        "PRINCIPAL",
        "AGENT",
        "INVOCATION",
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
            id(&event.invocation).to_owned(),
            event.outcome.clone(),
            cut(detail(event), most),
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

fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_where_asked_and_nowhere_else() {
        let event = Event {
            invocation: "invocations/inv-1".to_owned(),
            detail: "ä".repeat(100),
            ..Event::default()
        };
        let events = std::slice::from_ref(&event);
        let short = list_within(events, 60);
        assert_eq!(short.matches('ä').count(), 60);
        assert!(short.contains("inv-1") && short.contains("..."), "{short}");
        assert_eq!(list_within(events, usize::MAX).matches('ä').count(), 100);
    }
}
