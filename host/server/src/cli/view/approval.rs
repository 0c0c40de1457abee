use std::fmt::Write as _;

use dialoguer::console::Term;
use nexus_gate::{escape, wrap};
use nexus_proto::v1::Approval;

use crate::cli::text::{Table, block, fields, id, line, time, word};

/// What stands before each line of a rendering.
const INDENT: &str = "  ";

/// One approval with its whole rendering: nothing that a person has to see is left out or cut. The
/// rendering says who asks for what, and its digest; the heading says how the question stands.
///
/// On a terminal the rest of a line that is too long for it is marked, so that it can't pass for a
/// line of its own.
pub(crate) fn full(approval: &Approval) -> String {
    let columns = [Term::stdout(), Term::stderr()]
        .iter()
        .find_map(Term::size_checked)
        .map(|(_, columns)| usize::from(columns));
    full_within(approval, columns)
}

fn full_within(approval: &Approval, columns: Option<usize>) -> String {
    let mut text = fields([
        ("approval", id(&approval.name).to_owned()),
        ("state", word(approval.state().as_str_name(), "STATE_")),
        ("cancelled", approval.cancel_reason.clone()),
        ("asked", time(approval.create_time.as_ref())),
        ("expires", time(approval.expire_time.as_ref())),
    ]);
    text.push_str(&fields([
        ("in place of", id(&approval.edited_from).to_owned()),
        (
            "identical",
            match approval.identical_requests {
                0 => String::new(),
                count => format!("{count} more requests like this wait"),
            },
        ),
        (
            "last hour",
            match &approval.ask_rate {
                Some(rate) => format!(
                    "asked {} times, {} approved, {} denied",
                    rate.asked, rate.approved, rate.denied
                ),
                None => String::new(),
            },
        ),
    ]));
    for decision in &approval.decisions {
        let reason = match decision.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} by {} at {}{}",
            word(decision.verdict().as_str_name(), "VERDICT_"),
            line(&decision.principal),
            time(decision.decide_time.as_ref()),
            line(&reason),
        );
    }
    text.push('\n');
    let mut rendering = block(&approval.rendering);
    if let Some(columns) = columns {
        rendering = wrap(&rendering, columns.saturating_sub(INDENT.len()));
    }
    for rendered in rendering.lines() {
        let _ = writeln!(text, "{INDENT}{rendered}");
    }
    if approval.lineage.is_some() {
        let _ = writeln!(
            text,
            "\n`nexus approvals show {} --source` shows its source",
            line(id(&approval.name))
        );
    }
    text.push_str(&suggestions(approval));
    text
}

/// What may be remembered, after everything else: it is the host's offer, and no part of the action.
fn suggestions(approval: &Approval) -> String {
    let mut text = String::new();
    if approval.suggestions.is_empty() || !is_open(approval) {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = match approval.never_allowed.as_str() {
        "" => writeln!(text, "\n--remember N answers from now on, without asking:"),
        why => writeln!(text, "\n--remember N only with a no ({}):", line(why)),
    };
    for (number, suggestion) in (1..).zip(&approval.suggestions) {
        let _ = writeln!(text, "  {number}  {}", line(&suggestion.summary));
    }
    text
}

fn is_open(approval: &Approval) -> bool {
    use nexus_proto::v1::approval::State;
    matches!(approval.state(), State::Pending | State::Queued)
}

/// The approvals, one line each.
pub(crate) fn list(approvals: &[Approval]) -> String {
    let mut table = Table::new(["APPROVAL", "STATE", "AGENT", "WANTS", "ASKED", "EXPIRES"]);
    for approval in approvals {
        table.row([
            id(&approval.name).to_owned(),
            word(approval.state().as_str_name(), "STATE_"),
            id(&approval.agent).to_owned(),
            action(approval),
            time(approval.create_time.as_ref()),
            time(approval.expire_time.as_ref()),
        ]);
    }
    table.to_string()
}

/// One approval on one line, for a stream.
pub(crate) fn next(approval: &Approval) -> String {
    line(&format!(
        "{}  {}  {}  {}",
        id(&approval.name),
        word(approval.state().as_str_name(), "STATE_"),
        id(&approval.agent),
        action(approval)
    ))
}

/// What is wanted, in a few words. Each is written as the whole rendering would write it.
pub(crate) fn action(approval: &Approval) -> String {
    let words = [&approval.capability, &approval.verb, &approval.target];
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(|word| escape(word))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_rendering_is_shown_and_cannot_pose_as_the_heading() {
        let rendering = format!(
            "body\n{}\nstate: approved\u{1b}[2J\nlast line",
            "x".repeat(100_000)
        );
        let approval = Approval {
            name: "approvals/apr-1".to_owned(),
            rendering,
            ..Approval::default()
        };
        let text = full_within(&approval, None);
        assert!(text.contains(&"x".repeat(100_000)));
        assert!(text.ends_with("  last line\n"));
        assert!(!text.contains('\u{1b}'));
        assert!(!text.lines().any(|line| line.starts_with("state: approved")));
        let narrow = full_within(&approval, Some(80));
        assert!(narrow.lines().all(|line| line.len() <= 80));
        assert_eq!(narrow.matches('x').count(), 100_000);
    }
}
