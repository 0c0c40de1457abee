//! The way of a forge: spec, review, source, build, proof, publication.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use nexus_audit::{Event, EventKind};
use nexus_gate::permissions_are_free;
use nexus_manifest::{Digest, Manifest};
use nexus_runtime::{PrepareError, Prepared};

use crate::build::{self, Built, Diagnostic, Level};
use crate::event::{Detail, NotPublished, Stage, StageState};
use crate::forge::{Inner, error_chain};
use crate::records::{ForgeId, Lineage};
use crate::request::{Mode, Request};
use crate::selftest::{self, Example, Tested};
use crate::stages::{Stages, now_ms};
use crate::stop::Stop;
use crate::template::{self, NeedsParameters};
use crate::{model, publish};

/// A forge that ends before its end.
pub(crate) enum End {
    /// The caller has to say more.
    Needs(NeedsParameters),
    /// The source does not compile, or is not what its manifest says.
    Found(Vec<Diagnostic>),
    /// Anything else, in a sentence.
    Failed(String),
    /// Somebody cancelled it.
    Cancelled,
}

impl End {
    pub(crate) fn failed(error: &dyn std::error::Error) -> Self {
        Self::Failed(error_chain(error))
    }
}

/// What a source is made by, before there is one.
struct Plan {
    manifest: Arc<Manifest>,
    text: String,
    template: Option<String>,
    /// `None`: the model writes it.
    source: Option<String>,
    /// What it has to answer.
    examples: Vec<Example>,
    /// What a template's parameters are that nobody set.
    defaults: Vec<String>,
}

/// A component that could go live.
struct Made {
    source: String,
    built: Built,
    prepared: Prepared,
    tested: Tested,
}

/// Attempts of a model at the code, the first one included.
const TURNS: usize = 3;

/// Runs a forge to its end and tells every stage.
pub(crate) async fn run(
    forge: &Inner,
    id: ForgeId,
    request: Request,
    stages: &Stages,
    stop: &Stop,
) {
    let outcome = match Box::pin(attempt(forge, id, &request, stages, stop)).await {
        Ok(outcome) => outcome,
        Err(End::Needs(needs)) => {
            stages.finish(StageState::Stopped, Some(Detail::NeedsParameters(needs)));
            "needs_parameters"
        }
        Err(End::Found(found)) => {
            stages.finish(StageState::Failed, Some(Detail::Diagnostics(found)));
            "build_failed"
        }
        Err(End::Failed(reason)) => {
            stages.finish(StageState::Failed, Some(Detail::Failure(reason)));
            "failed"
        }
        Err(End::Cancelled) => {
            stages.finish(StageState::Cancelled, None);
            "cancelled"
        }
    };
    let event = Event::new(EventKind::ForgeFinished)
        .principal(request.principal.as_str())
        .agent(request.agent.clone())
        .outcome(outcome)
        .detail(serde_json::json!({ "forge": id, "mode": request.mode.as_str() }));
    if let Err(error) = forge.runtime.services().audit.note(event) {
        tracing::warn!(%error, "the end of a forge could not be recorded");
    }
}

async fn attempt(
    forge: &Inner,
    id: ForgeId,
    request: &Request,
    stages: &Stages,
    stop: &Stop,
) -> Result<&'static str, End> {
    let began = Instant::now();
    // A forge that is cancelled leaves no process and no directory.
    let worked = nexus_sandbox::until(work(forge, request, stages), stop.stopped()).await;
    let (plan, made) = worked.unwrap_or(Err(End::Cancelled))?;
    let digest = made.prepared.digest;
    let lineage = lineage(forge, request, &plan, &made);

    if request.validate_only {
        stages.begin(Stage::Publish);
        let reason = NotPublished::ValidateOnly;
        stages.finish(
            StageState::Succeeded,
            Some(Detail::NotPublished { reason, digest }),
        );
        return Ok("validated");
    }
    let candidate = publish::Candidate {
        id,
        lineage,
        prepared: made.prepared,
        planned: made.tested.planned,
        forging: began.elapsed(),
    };
    publish::publish(forge, request, candidate, stages, stop).await
}

/// All that changes nothing for anybody: may be stopped anywhere.
async fn work(forge: &Inner, request: &Request, stages: &Stages) -> Result<(Plan, Made), End> {
    stages.begin(Stage::Spec);
    let plan = plan(forge, request, stages).await?;
    let detail = Detail::Spec {
        manifest: plan.manifest.clone(),
        template: plan.template.clone(),
    };
    stages.end(StageState::Succeeded, Some(detail));

    stages.begin(Stage::Review);
    if !plan.defaults.is_empty() {
        let defaults = plan.defaults.join(", ");
        let told = format!("nobody said, so by default: {defaults}; --set NAME=VALUE changes it");
        stages.tell(Detail::Log(told));
    }
    let (manifest, runtime) = (&plan.manifest, &forge.runtime);
    let succession = runtime.succession(manifest, &request.principal, request.root);
    let weighed = if let Some(owner) = succession.owner {
        format!(
            "the agent {} belongs to {owner}; a person has to agree before it is replaced",
            request.agent
        )
    } else if succession.widens && succession.generation.is_some() {
        "this is more than the live generation may do; a person has to accept it before it is published"
            .to_owned()
    } else if !succession.widens && permissions_are_free(&plan.manifest.permissions) {
        "these permissions are free".to_owned()
    } else {
        "a person has to accept these permissions before the agent is published".to_owned()
    };
    stages.end(StageState::Succeeded, Some(Detail::Log(weighed)));

    let made = match &plan.source {
        Some(source) => {
            stages.begin(Stage::Source);
            stages.end(StageState::Succeeded, None);
            make(forge, source, &plan, stages).await?
        }
        None => write(forge, request, &plan, stages).await?,
    };
    Ok((plan, made))
}

async fn plan(forge: &Inner, request: &Request, stages: &Stages) -> Result<Plan, End> {
    match &request.mode {
        Mode::Template { template, set } => {
            let rendered = forge
                .catalog
                .render(
                    &request.agent,
                    template.as_deref().filter(|name| !name.is_empty()),
                    &request.words,
                    set,
                    &request.inputs,
                )
                .map_err(|error| match error {
                    template::Error::NeedsParameters(needs) => End::Needs(needs),
                    other => End::failed(&other),
                })?;
            Ok(Plan {
                manifest: parse(&rendered.manifest)?,
                text: rendered.manifest,
                template: Some(rendered.template),
                source: Some(rendered.source),
                examples: request.examples.clone(),
                defaults: rendered.defaults,
            })
        }
        Mode::Source { source, manifest } => {
            let parsed = parse(manifest)?;
            if parsed.name != request.agent {
                return Err(End::Failed(format!(
                    "the manifest names the agent {}, and {} was asked for; make them the same",
                    parsed.name, request.agent
                )));
            }
            Ok(Plan {
                manifest: parsed,
                text: manifest.clone(),
                template: None,
                source: Some(source.clone()),
                examples: request.examples.clone(),
                defaults: Vec::new(),
            })
        }
        Mode::Model => ask_spec(forge, request, stages).await,
    }
}

fn parse(manifest: &str) -> Result<Arc<Manifest>, End> {
    Manifest::parse(manifest)
        .map(Arc::new)
        .map_err(|error| End::Failed(format!("the manifest is not valid: {}", error.to_line())))
}

fn model(forge: &Inner) -> Result<&model::Client, End> {
    forge
        .model
        .as_ref()
        .ok_or_else(|| End::failed(&model::Error::NotConfigured))
}

/// Has the model say what the agent is; it is told once what is wrong.
async fn ask_spec(forge: &Inner, request: &Request, stages: &Stages) -> Result<Plan, End> {
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
async fn write(
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
        match make(forge, &source, plan, stages).await {
            Err(End::Found(found)) if turn < TURNS => {
                model::ask_repair(&mut messages, &source, &found);
                stages.end(StageState::Failed, Some(Detail::Diagnostics(found)));
                turn += 1;
            }
            other => return other,
        }
    }
}

/// Source to proven component.
async fn make(forge: &Inner, source: &str, plan: &Plan, stages: &Stages) -> Result<Made, End> {
    stages.begin(Stage::Build);
    let built = forge
        .builder
        .build(source, &plan.text)
        .await
        .map_err(|error| match error {
            build::Error::Rejected(found) => End::Found(found),
            build::Error::NotAnAgent(_) => End::Found(vec![finding(&error)]),
            other => End::failed(&other),
        })?;
    let warnings = built.warnings.clone();
    let detail = (!warnings.is_empty()).then_some(Detail::Diagnostics(warnings));
    stages.end(StageState::Succeeded, detail);

    stages.begin(Stage::Proof);
    let prepared = forge
        .runtime
        .prepare_forged(Bytes::from(built.component.clone()))
        .await;
    let prepared = prepared.map_err(|error| match error {
        PrepareError::Proof(error) => End::Found(vec![finding(&error)]),
        PrepareError::Trial(_) => {
            stages.begin(Stage::SelfTest);
            End::Found(vec![finding(&error)])
        }
        other => End::failed(&other),
    })?;
    let detail = Detail::Component {
        digest: prepared.digest,
        size: built.component.len(),
        imports: prepared.imports.clone(),
    };
    stages.end(StageState::Succeeded, Some(detail));

    let mut tested = Tested::default();
    if !plan.examples.is_empty() {
        stages.begin(Stage::SelfTest);
        tested = selftest::run(&forge.runtime, &prepared, &plan.examples)
            .await
            .map_err(End::Found)?;
        stages.end(StageState::Succeeded, Some(Detail::Tested(tested.clone())));
    }
    Ok(Made {
        source: source.to_owned(),
        built,
        prepared,
        tested,
    })
}

/// What a check says, in the form in which the compiler speaks.
fn finding(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic {
        level: Level::Error,
        code: None,
        message: error_chain(error),
        line: 0,
        column: 0,
        rendered: format!("error: {}", error_chain(error)),
    }
}

fn lineage(forge: &Inner, request: &Request, plan: &Plan, made: &Made) -> Lineage {
    let permissions: Vec<String> = plan
        .manifest
        .permissions
        .iter()
        .map(ToString::to_string)
        .collect();
    let spec = serde_json::json!({
        "agent": plan.manifest.name.as_str(),
        "summary": plan.manifest.summary,
        "permissions": permissions,
        "defaults": plan.defaults,
    });
    let by_model = matches!(request.mode, Mode::Model);
    Lineage {
        mode: request.mode.as_str().to_owned(),
        prompt_digest: Digest::of(request.words.as_bytes()),
        model: forge
            .model
            .as_ref()
            .filter(|_| by_model)
            .map(|client| client.model().to_owned()),
        template: plan.template.clone(),
        spec: spec.to_string(),
        source: made.source.clone(),
        manifest: plan.text.clone(),
        toolchain: made.built.toolchain.clone(),
        flags: made.built.flags.clone(),
        component: made.prepared.digest,
        created_ms: now_ms(),
    }
}
