use nexus_proto::v1::{
    Invocation, InvocationEvent, invocation::Outcome, invocation_event::Event, log_entry,
};

use crate::cli::text::{Table, block, fields, id, line, time, word};

/// One invocation and how it ended.
pub(crate) fn full(invocation: &Invocation) -> String {
    let mut text = fields([
        ("name", id(&invocation.name).to_owned()),
        ("agent", id(&invocation.agent).to_owned()),
        ("generation", invocation.generation.to_string()),
        ("component", invocation.component_digest.clone()),
        ("principal", invocation.principal.clone()),
        ("state", word(invocation.state().as_str_name(), "STATE_")),
        ("began", time(invocation.create_time.as_ref())),
        ("ended", time(invocation.end_time.as_ref())),
        ("approvals", ids(&invocation.approvals)),
        ("outcome", explain(invocation)),
    ]);
    if let Some(Outcome::Success(success)) = &invocation.outcome {
        text.push_str(&block(&success.output));
        text.push('\n');
    }
    text
}

/// The invocations, one line each.
pub(crate) fn list(invocations: &[Invocation]) -> String {
    let mut table = Table::new([
        "INVOCATION",
        "AGENT",
        "GENERATION",
        "STATE",
        "BEGAN",
        "OUTCOME",
    ]);
    for invocation in invocations {
        table.row([
            id(&invocation.name).to_owned(),
            id(&invocation.agent).to_owned(),
            invocation.generation.to_string(),
            word(invocation.state().as_str_name(), "STATE_"),
            time(invocation.create_time.as_ref()),
            explain(invocation),
        ]);
    }
    table.to_string()
}

/// One thing that happened to one of several invocations, on one line with the invocation's name.
pub(crate) fn event_of(happened: &InvocationEvent) -> String {
    format!("{}  {}", line(id(&happened.invocation)), event(happened))
}

/// One thing that happened, on one line.
pub(crate) fn event(event: &InvocationEvent) -> String {
    let what = match &event.event {
        Some(Event::State(invocation)) => {
            let state = word(invocation.state().as_str_name(), "STATE_");
            match &invocation.outcome {
                Some(Outcome::Success(success)) => format!("{state}: {}", success.output),
                _ => match explain(invocation) {
                    reason if reason.is_empty() => state,
                    reason => format!("{state}: {reason}"),
                },
            }
        }
        Some(Event::Log(entry)) => {
            format!("{}: {}", level(entry.level()), entry.message)
        }
        Some(Event::Progress(progress)) => {
            format!("{:.0} % {}", progress.fraction * 100.0, progress.message)
        }
        Some(Event::Approval(approval)) => format!("waiting for approval {}", id(approval)),
        None => return String::new(),
    };
    format!("{}  {}", time(event.event_time.as_ref()), line(&what))
}

/// The word of a log level.
pub(crate) fn level(level: log_entry::Level) -> String {
    word(level.as_str_name(), "LEVEL_")
}

/// How an invocation ended, or what it waits for, in a sentence that is not escaped yet.
pub(crate) fn explain(invocation: &Invocation) -> String {
    match &invocation.outcome {
        Some(Outcome::Success(_)) => "answered".to_owned(),
        Some(Outcome::Failure(failure)) => {
            // The SDK begins the text of an error with its kind, which is the code.
            let code = &failure.code;
            let said = failure.message.strip_prefix(&code.replace('-', " "));
            let said = said.and_then(|rest| rest.strip_prefix(": "));
            format!(
                "the agent failed ({code}): {}",
                said.unwrap_or(&failure.message)
            )
        }
        Some(Outcome::Refusal(refusal)) => with_reason(
            &format!("refused, {}", word(refusal.kind().as_str_name(), "KIND_")),
            &refusal.reason,
        ),
        Some(Outcome::Exhausted(exhausted)) => with_reason(
            &format!(
                "used up its {}",
                word(exhausted.limit().as_str_name(), "LIMIT_")
            ),
            &exhausted.message,
        ),
        Some(Outcome::Trap(trap)) => with_reason("the component trapped", &trap.message),
        Some(Outcome::HostFault(fault)) => with_reason("the host failed", &fault.message),
        Some(Outcome::Cancellation(cancellation)) => with_reason("cancelled", &cancellation.reason),
        Some(Outcome::Interruption(interruption)) => {
            with_reason("interrupted", &interruption.reason)
        }
        None if invocation.approvals.is_empty() => String::new(),
        None => format!("waits for {}", ids(&invocation.approvals)),
    }
}

fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {reason}")
    }
}

fn ids(names: &[String]) -> String {
    names
        .iter()
        .map(|name| id(name))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use nexus_proto::v1::{Failure, LogEntry};

    use super::*;

    #[test]
    fn what_an_agent_says_is_escaped() {
        let log = InvocationEvent {
            event: Some(Event::Log(LogEntry {
                level: log_entry::Level::Info.into(),
                message: "\u{1b}]0;title\u{7}\nsucceeded: answered".to_owned(),
            })),
            event_time: None,
            invocation: String::new(),
        };
        let text = event(&log);
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'));

        let failed = Invocation {
            outcome: Some(Outcome::Failure(Failure {
                code: "bad".to_owned(),
                message: "x\u{9b}2J\ny".to_owned(),
            })),
            ..Invocation::default()
        };
        assert!(!full(&failed).contains('\u{9b}'));
        assert_eq!(list(&[failed]).lines().count(), 2);
    }
}
