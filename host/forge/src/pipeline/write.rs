//! Specification and source by a language model.

use std::sync::Arc;

use super::End;
use super::make::{Made, make};
use super::plan::Plan;
use crate::event::{Detail, Stage, StageState};
use crate::forge::Inner;
use crate::model;
use crate::request::Request;
use crate::stages::Stages;

/// Attempts of a model at the code, the first one included.
const TURNS: usize = 3;

fn model(forge: &Inner) -> Result<&model::Client, End> {
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
) -> Result<Plan, End> {
    let client = model(forge)?;
    let mut messages = model::ask_spec(&request.words, &request.inputs);
    let format = model::spec_format();
    let told = |piece: &str| stages.tell_model(piece);
    let mut last = String::new();
    for _ in 0..2 {
        let answer = client
            .complete(&messages, format.as_ref(), told)
            .await
            .map_err(|error| End::failed(&error))?;
        match model::manifest(&request.agent, &answer) {
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
                messages.push(model::Message::new("assistant", answer));
                let correction = format!(
                    "That is not valid: {reason}\nAnswer with the corrected JSON object and nothing else."
                );
                messages.push(model::Message::new("user", correction));
                last = reason;
            }
        }
    }
    Err(End::failed(&model::Error::Spec(last)))
}

/// Has the model write the code, and mend it while the compiler or the proof
/// finds something.
pub(super) async fn write(
    forge: &Inner,
    request: &Request,
    plan: &Plan,
    stages: &Stages,
) -> Result<Made, End> {
    let client = model(forge)?;
    let mut messages = model::ask_code(&request.words, &request.inputs, &plan.text);
    let told = |piece: &str| stages.tell_model(piece);
    let mut turn = 1;
    loop {
        stages.begin(Stage::Source);
        let answer = client
            .complete(&messages, None, told)
            .await
            .map_err(|error| End::failed(&error))?;
        let source = model::code(&answer);
        stages.end(StageState::Succeeded, None);
        match make(forge, request, &source, plan, stages).await {
            Err(End::Found(found)) if turn < TURNS => {
                model::ask_repair(&mut messages, &source, &found);
                stages.end(StageState::Failed, Some(Detail::Diagnostics(found)));
                turn += 1;
            }
            other => return other,
        }
    }
}
