//! Shadow runs: a component tried with real reads before anybody can call it, for a person to look at.

use nexus_gate::RootOrigin;
use nexus_runtime::{Outcome, Prepared, Runtime, Shadow};
use serde::Serialize;

use crate::request::{Mode, Request};
use crate::selftest::{fits, shown};

/// What came of one shadow run.
#[derive(Debug, Clone, Serialize)]
pub struct Shadowed {
    /// The input.
    pub input: String,
    /// How it ended, such as `success`.
    pub outcome: String,
    /// What it answered, or why it did not; cut to a bounded size.
    pub output: String,
    /// What it has looked at, one line each.
    pub reads: Vec<String>,
    /// What it would have done, and what it was not let look at; one line each.
    pub planned: Vec<String>,
}

/// Runs a component with every input that the request names. Every real read is one that policy calls
/// free, an action at the gate and in its trail; nothing else happens.
pub(crate) async fn run(
    runtime: &Runtime,
    request: &Request,
    prepared: &Prepared,
) -> Result<Vec<Shadowed>, String> {
    if !request.root.attended() {
        return Err("a shadow run is for a person to look at, and nobody is there".to_owned());
    }
    let mut runs = Vec::new();
    for input in &request.shadow {
        fits(prepared, input)?;
        let shadow = Shadow {
            input: input.clone(),
            principal: request.principal.clone(),
            root: request.root,
            reviewed: request.reviewed(),
        };
        let ran = runtime.shadow(prepared, &shadow).await;
        let output = match &ran.outcome {
            Outcome::Success(output) => shown(output),
            Outcome::Failure { code, message } => shown(&format!("{code}: {message}")),
            Outcome::Exhausted { message, .. }
            | Outcome::Trapped { message }
            | Outcome::HostFault { message } => shown(message),
            Outcome::Refused(refusal) => shown(&refusal.to_string()),
            Outcome::Cancelled { reason } => shown(reason),
            _ => String::new(),
        };
        runs.push(Shadowed {
            input: shown(input),
            outcome: ran.outcome.as_str().to_owned(),
            output,
            reads: ran.reads,
            planned: ran.planned,
        });
    }
    Ok(runs)
}

impl Request {
    /// Whether a person who may decide has said what the agent may do: templates make up no origin
    /// and no secret.
    pub(crate) fn reviewed(&self) -> bool {
        self.decides
            && self.root == RootOrigin::Interactive
            && matches!(self.mode, Mode::Template { .. })
    }
}
