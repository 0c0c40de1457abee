//! `nexus invoke`: output on stdout, the agent's log on stderr, the outcome as exit code.

use std::io::{IsTerminal as _, stderr};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nexus_proto::v1::{
    GetApprovalRequest, GetInvocationRequest, Invocation, Progress, RootOrigin,
    StartInvocationRequest, WatchInvocationRequest,
    invocation::{Outcome, State},
    invocation_event::Event,
};
use tonic::{Code, Status};

pub(crate) use super::view::invocation::explain;
use super::{
    args::Invoke,
    connection::Client,
    exit::Exit,
    failure::Misuse,
    output::{self, Output},
    prompt,
    text::{block, id, line, name},
    view::invocation as view,
};

pub(crate) async fn run(
    arguments: Invoke,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Exit> {
    let input = if arguments.input == "-" {
        String::from_utf8(prompt::stdin().await?)
            .map_err(|_| Misuse("the input is not UTF-8 text".to_owned()))?
    } else {
        arguments.input
    };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&input) {
        bail!(
            "the input is not JSON: {error}; quote it for the shell, such as '{{\"below\": 3500}}', or give it as - on standard input"
        );
    }
    let timeout = arguments
        .timeout
        .map(prost_types::Duration::try_from)
        .transpose()
        .context("failed to use the timeout")?;
    let request = StartInvocationRequest {
        name: name("agents", &arguments.name),
        input,
        request_id: arguments.request_id,
        timeout,
        root_origin: RootOrigin::from(arguments.origin).into(),
    };
    let started = client
        .invocations()
        .start_invocation(request)
        .await?
        .into_inner();
    let followed = tokio::select! {
        followed = follow(&started.name, arguments.wait, client) => followed.inspect_err(|_| {
            output.note(&format!(
                "it was not followed to its end; `nexus invocations show {}` tells how it stands",
                line(id(&started.name))
            ));
        })?,
        _ = tokio::signal::ctrl_c() => {
            output.note(&format!(
                "{0} goes on; `nexus invocations cancel {0}` stops it",
                line(id(&started.name))
            ));
            return Ok(Exit::Error);
        }
    };
    report(&followed, may_decide(&followed, client).await, output)?;
    Ok(Exit::from(&followed))
}

/// Shows log and progress until the invocation has ended, or waits for a person.
async fn follow(name: &str, wait: bool, client: &Client) -> anyhow::Result<Invocation> {
    let screen = Screen::new();
    let mut shown = 0;
    let last = loop {
        match watch(name, wait, client, &screen, &mut shown).await {
            Ok(last) => break last,
            // The agent wrote faster than we read; a new watch tells the log again.
            Err(status) if status.code() == Code::Aborted => {}
            Err(status) => return Err(status.into()),
        }
    };
    screen.clear();
    match last {
        Some(invocation) if invocation.state() != State::Running => Ok(invocation),
        // The stream ended early: the invocation itself says how it stands.
        _ => {
            let request = GetInvocationRequest {
                name: name.to_owned(),
            };
            let invocation = client
                .invocations()
                .get_invocation(request)
                .await?
                .into_inner();
            if invocation.state() == State::Running {
                bail!("the host stopped telling of {}", line(id(name)));
            }
            Ok(invocation)
        }
    }
}

/// One watch; returns the last state that it told. `shown` counts the lines of log that need not be
/// shown again.
async fn watch(
    name: &str,
    wait: bool,
    client: &Client,
    screen: &Screen,
    shown: &mut usize,
) -> Result<Option<Invocation>, Status> {
    let request = WatchInvocationRequest {
        name: name.to_owned(),
    };
    let mut events = client
        .invocations()
        .watch_invocation(request)
        .await?
        .into_inner();
    let mut last = None;
    let mut lines = 0;
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Log(entry)) => {
                lines += 1;
                if lines > *shown {
                    *shown = lines;
                    let level = view::level(entry.level());
                    screen.say(&format!("{level:<5} {}", line(&entry.message)));
                }
            }
            Some(Event::Progress(progress)) => screen.progress(&progress),
            Some(Event::Approval(approval)) if wait => screen.say(&format!(
                "waiting for a person: `nexus approvals approve {}` shows and approves",
                line(id(&approval))
            )),
            Some(Event::State(invocation)) => {
                let stop = invocation.state() == State::Waiting
                    && !invocation.approvals.is_empty()
                    && !wait;
                last = Some(invocation);
                if stop {
                    break;
                }
            }
            Some(Event::Approval(_)) | None => {}
        }
    }
    Ok(last)
}

/// Whether the token may decide what the invocation waits for, as far as the host tells.
async fn may_decide(invocation: &Invocation, client: &Client) -> bool {
    let Some(approval) = invocation.approvals.first() else {
        return true;
    };
    let request = GetApprovalRequest {
        name: approval.clone(),
    };
    let got = client.approvals().get_approval(request).await;
    !matches!(got, Err(status) if status.code() == Code::PermissionDenied)
}

fn report(invocation: &Invocation, may_decide: bool, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.message(invocation, view::full);
    }
    match &invocation.outcome {
        // JSON text keeps its meaning when what a terminal would obey is escaped.
        Some(Outcome::Success(success))
            if serde_json::from_str::<serde::de::IgnoredAny>(&success.output).is_ok() =>
        {
            output.text(&output::harmless(&success.output))
        }
        Some(Outcome::Success(success)) => output.text(&block(&success.output)),
        Some(_) => {
            output.note(&line(&explain(invocation)));
            Ok(())
        }
        None => {
            let whom = match may_decide {
                true => "a person",
                false => "an approver, which this token is not; ask one",
            };
            output.note(&format!("{} waits for {whom}:", line(id(&invocation.name))));
            for approval in &invocation.approvals {
                output.note(&format!("  nexus approvals approve {}", line(id(approval))));
            }
            output.note(&format!(
                "and then `nexus invocations watch {}` shows what it answers",
                line(id(&invocation.name))
            ));
            Ok(())
        }
    }
}

/// stderr with a bar on its last line, if it is a terminal.
struct Screen(Option<ProgressBar>);

impl Screen {
    fn new() -> Self {
        if !stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(1_000);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}") {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    fn progress(&self, progress: &Progress) {
        if let Some(bar) = &self.0 {
            let fraction = progress.fraction.clamp(0.0, 1.0);
            bar.set_position((fraction * 1_000.0) as u64);
            bar.set_message(line(&progress.message));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
