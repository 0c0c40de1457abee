//! Specification and source by a language model.

use std::sync::Arc;

use nexus_store::Commit;

use super::make::{Made, make};
use super::plan::Plan;
use super::{End, component};
use crate::event::{Detail, Stage, StageState};
use crate::forge::Inner;
use crate::model::{self, Client, Format, Message, Models, Said, Spend};
use crate::request::Request;
use crate::stages::Stages;

/// Attempts of a model at the specification, the first one included.
const SPEC_TURNS: usize = 2;

fn models(forge: &Inner) -> Result<&Models, End> {
    forge
        .model
        .as_ref()
        .ok_or_else(|| End::failed(&model::Error::NotConfigured))
}

/// Has the model say what the agent is; it is told once what is wrong.
pub(super) async fn ask_spec(
    forge: &Inner,
    request: &Request,
    stages: &Stages,
    spend: &Spend<'_>,
) -> Result<Plan, End> {
    let client = &models(forge)?.spec;
    component::can_compile(forge, request).await?;
    let mut messages = model::ask_spec(&request.words, &request.inputs);
    let format = model::spec_format();
    let mut last = String::new();
    for _ in 0..SPEC_TURNS {
        let answer = ask(
            forge,
            request,
            client,
            &messages,
            format.as_ref(),
            stages,
            spend,
        )
        .await?;
        let read = model::manifest(&request.agent, &answer).and_then(|read| {
            model::declares(&read.0, &request.inputs)?;
            Ok(read)
        });
        match read {
            Ok((text, manifest, mut examples)) => {
                // What the caller expects comes first.
                examples.splice(0..0, request.examples.iter().cloned());
                return Ok(Plan {
                    manifest: Arc::new(manifest),
                    text,
                    template: None,
                    source: None,
                    examples,
                    defaults: Vec::new(),
                });
            }
            Err(reason) => {
                stages.tell(Detail::Log(format!(
                    "the specification is not valid: {reason}"
                )));
                model::ask_spec_again(&mut messages, answer, &reason);
                last = reason;
            }
        }
    }
    Err(End::failed(&model::Error::Spec(last)))
}

/// Has the model write the code, and mend it while the compiler, the proof or an
/// example finds something.
pub(super) async fn write(
    forge: &Inner,
    request: &Request,
    plan: &Plan,
    stages: &Stages,
    spend: &Spend<'_>,
) -> Result<Made, End> {
    let client = &models(forge)?.code;
    let mut messages = model::ask_code(&request.words, &request.inputs, &plan.text);
    let turns = spend.bounds().turns;
    let mut turn = 1;
    loop {
        stages.begin(Stage::Source);
        let answer = ask(forge, request, client, &messages, None, stages, spend).await?;
        let source = model::code(&answer);
        let used = format!("the model was used for {}", spend.used());
        stages.end(StageState::Succeeded, Some(Detail::Log(used)));
        match make(forge, request, &source, plan, stages).await {
            Err(End::Found(_, found)) if turn < turns => {
                model::ask_repair(&mut messages, &source, &found);
                stages.end(StageState::Failed, Some(Detail::Diagnostics(found)));
                turn += 1;
            }
            Err(last @ End::Found(..)) => {
                stages.tell(Detail::Log(format!(
                    "the model has had its {turns} turns, and was used for {}; `turns` under [model] gives it more",
                    spend.used()
                )));
                return Err(last);
            }
            other => return other,
        }
    }
}

/// Has a model answer, tells what it says, and keeps what it used.
async fn ask(
    forge: &Inner,
    request: &Request,
    client: &Client,
    messages: &[Message],
    format: Option<&Format>,
    stages: &Stages,
    spend: &Spend<'_>,
) -> Result<String, End> {
    let told = |said: Said<'_>| match said {
        Said::Piece(piece) => stages.tell_model(piece),
        Said::Note(note) => stages.tell(Detail::Log(note)),
    };
    let answer = client.complete_as(messages, format, spend, told).await;
    let mut commit = Commit::new();
    forge.ledger.keep(&request.principal, &mut commit);
    if !commit.operations().is_empty()
        && let Err(error) = forge.runtime.services().store.commit(commit).await
    {
        tracing::warn!(%error, "what a model was used for is counted until the host stops");
    }
    answer.map_err(|error| End::failed(&error))
}
