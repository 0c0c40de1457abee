//! What a person reads when a command does not work.

use std::{fmt::Write as _, io};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{exit::Exit, output, text, words::of_the_command_line};

/// A question came up and there is no terminal to ask it on.
#[derive(Debug, thiserror::Error)]
#[error("{question}, and there is no terminal to ask on; answer with {flag}")]
pub(crate) struct NeedsAnswer {
    pub(crate) question: String,
    pub(crate) flag: String,
}

/// The command was called in a way that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Writes the error to stderr and says which exit code belongs to it.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if let Some(error) = error.downcast_ref::<io::Error>()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        // Whoever read our output has seen enough.
        return Exit::Success;
    }
    output::note(&describe(error));
    if error.is::<NeedsAnswer>() || error.is::<Misuse>() {
        Exit::Usage
    } else {
        Exit::Error
    }
}

/// The error and its causes, as `report` writes them.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::from("error: ");
    let mut separator = "";
    for cause in error.chain() {
        text.push_str(separator);
        separator = ": ";
        if let Some(status) = cause.downcast_ref::<Status>() {
            // What lies below a status is the transport's own wording of the same.
            text.push_str(&describe_status(status));
            return text;
        }
        text.push_str(&text::block(&cause.to_string()));
    }
    text
}

/// The stable reason of a refusal, empty if there is none.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info();
    info.map(|info| info.reason.clone()).unwrap_or_default()
}

/// The message, every violation, and the reason to look up.
pub(crate) fn describe_status(status: &Status) -> String {
    let mut described = if status.message().is_empty() {
        text::word(&format!("{:?}", status.code()), "")
    } else {
        text::block(&of_the_command_line(status.message()))
    };
    let details = status.get_error_details();
    let mut entry = |label: &str, value: &str| {
        // What the message says in full already is not said twice.
        if !value.is_empty() && status.message().contains(value) {
            return;
        }
        let value = &of_the_command_line(value);
        let _ = write!(
            described,
            "\n  {}: {}",
            text::line(label),
            text::line(value)
        );
    };
    if let Some(request) = details.bad_request() {
        for violation in &request.field_violations {
            let field = if violation.field.is_empty() {
                "input"
            } else {
                &violation.field
            };
            entry(field, &violation.description);
        }
    }
    if let Some(failure) = details.precondition_failure() {
        for violation in &failure.violations {
            entry(&violation.subject, &violation.description);
        }
    }
    if let Some(failure) = details.quota_failure() {
        for violation in &failure.violations {
            entry(&violation.subject, &violation.description);
        }
    }
    if let Some(info) = details.error_info() {
        let metadata: std::collections::BTreeMap<_, _> = info.metadata.iter().collect();
        let metadata: Vec<String> = metadata
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let reason = format!("{} {}", info.reason, metadata.join(" "));
        entry("reason", reason.trim_end());
    }
    match status.code() {
        Code::Unavailable if details.error_info().is_none() => {
            described.push_str(
                "\n  is `nexus serve` running? `--endpoint` or NEXUS_ENDPOINT names another host",
            );
        }
        Code::Unauthenticated => {
            described.push_str("\n  `--token` or NEXUS_TOKEN gives another token");
        }
        _ => {}
    }
    described
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn violations_and_reason_are_shown_and_escaped() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("input.symbol", "is missing\u{1b}[2J")
            .set_error_info(
                "INVALID_INPUT",
                "nexus",
                [("agent".to_owned(), "prices".to_owned())],
            );
        let status =
            Status::with_error_details(Code::InvalidArgument, "the input does not fit", details);
        assert_eq!(
            describe(&anyhow::Error::new(status)),
            "error: the input does not fit\n  input.symbol: is missing\\u{1b}[2J\n  reason: INVALID_INPUT agent=prices"
        );
    }

    #[test]
    fn a_host_that_is_not_there_is_asked_after() {
        let error = anyhow::Error::new(Status::unavailable("tcp connect error"));
        assert!(describe(&error).contains("is `nexus serve` running?"));
        assert_eq!(report(&error), Exit::Error);
    }

    #[test]
    fn a_missing_answer_is_a_matter_of_usage() {
        let error = anyhow::Error::new(NeedsAnswer {
            question: "approving needs a yes".to_owned(),
            flag: "--yes".to_owned(),
        });
        assert!(describe(&error).contains("--yes"));
        assert_eq!(report(&error), Exit::Usage);
    }
}
