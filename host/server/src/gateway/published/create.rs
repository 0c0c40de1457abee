//! `create`: a skill from its description, within the request.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use http_body_util::BodyExt as _;
use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, FailureReason, Stage, State};
use nexus_proto::v1::not_published::Reason;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use super::hot_reload::milliseconds;
use super::names::Skill;
use super::words::{self, Create};
use super::{Answered, skeleton};
use crate::fault::Fault;
use crate::gateway::Stack;
use crate::gateway::call::{Sender, lazy};
use crate::gateway::frame::{Frames, frame};

const FORGE: &str = "/nexus.v1.ForgeService/ForgeAgent";

/// What a forge has told, as far as the guide has a word for it.
#[derive(Default)]
struct Told {
    compiling: u64,
    whole: u64,
    /// The compiler was content.
    compiled: bool,
    diagnostics: Vec<String>,
    last: Option<v1::ForgeEvent>,
}

/// Forges with the model if there is one, else from the template that fits. Where a template would
/// have to be told more than the guide's request holds, the skill is a skeleton, and says so.
pub(super) async fn create<S: Stack>(
    stack: S,
    sender: &Sender,
    body: Body,
    model: bool,
) -> Answered {
    let said = Arc::new(OnceLock::new());
    let asked = {
        let said = Arc::clone(&said);
        async move {
            let request: Create = words::body("request to create", body).await?;
            words::named("name", &request.name)?;
            let forging = forging(&request, model);
            // Asked for once, so that it is said once.
            let _ = said.set(request);
            Ok(forging)
        }
    };
    let (mut told, mut headers) = forge(stack.clone(), sender, asked).await?;
    let request = said.get().ok_or_else(unanswered)?;
    let skill = Skill::named(&request.name);
    let chosen = !request.template.is_empty() || !request.set.is_empty();
    let mut note = None;
    if let (Some(Detail::NeedsParameters(needs)), false) = (told.detail(), chosen) {
        note = Some(lacking(needs));
        let source = v1::ForgeAgentRequest {
            mode: v1::ForgeMode::Source.into(),
            source: skeleton::SOURCE.to_owned(),
            manifest: skeleton::manifest(&skill.agent, request),
            ..forging(request, false)
        };
        // Its input is in the manifest.
        let source = v1::ForgeAgentRequest {
            parameters: Vec::new(),
            ..source
        };
        (told, headers) = forge(stack, sender, async move { Ok(source) }).await?;
    }
    let mut value = told.answer(&skill);
    if let Some(why) = note {
        let note = match value["success"] == true {
            true => {
                format!("This skill is a skeleton: it checks its input and answers with it. {why}")
            }
            false => format!("A skeleton was to take its place. {why}"),
        };
        value["note"] = note.into();
    }
    Ok((value, headers))
}

fn forging(request: &Create, model: bool) -> v1::ForgeAgentRequest {
    let chosen = !request.template.is_empty() || !request.set.is_empty();
    let mode = match model && !chosen {
        true => v1::ForgeMode::Model,
        false => v1::ForgeMode::Template,
    };
    v1::ForgeAgentRequest {
        agent_id: Skill::named(&request.name).agent,
        words: request.description.clone(),
        mode: mode.into(),
        template: request.template.clone(),
        set: request.set.clone().into_iter().collect(),
        parameters: request.params.iter().map(words::Param::parameter).collect(),
        ..v1::ForgeAgentRequest::default()
    }
}

/// Why there is a skeleton only.
fn lacking(needs: &v1::NeedsParameters) -> String {
    let why = match needs.template.as_str() {
        "" => "no template fits its description".to_owned(),
        template => {
            let names: Vec<&str> = needs.parameters.iter().map(|p| p.name.as_str()).collect();
            format!(
                "the template {template} fits its description and needs {}, which is never made up",
                names.join(", ")
            )
        }
    };
    format!(
        "The host has no model, and {why}. Send `template` and `set`, or give the host a model under [model]."
    )
}

/// Runs a forge until it has ended, or a person is asked. It goes on by itself then.
async fn forge<S, F>(stack: S, sender: &Sender, asked: F) -> Result<(Told, HeaderMap), Status>
where
    S: Stack,
    F: Future<Output = Result<v1::ForgeAgentRequest, Status>> + Send + 'static,
{
    let message = lazy(async move { frame(&asked.await?.encode_to_vec()) });
    let (parts, mut body) = sender.send(stack, FORGE, message).await?.into_parts();
    let mut told = Told::default();
    let mut frames = Frames::default();
    while let Some(piece) = body.frame().await.transpose()? {
        match piece.into_data() {
            Ok(data) => frames.push(&data),
            Err(piece) => {
                let trailers = piece.into_trailers().unwrap_or_default();
                match Status::from_header_map(&trailers) {
                    Some(status) if status.code() != Code::Ok => return Err(status),
                    _ => break,
                }
            }
        }
        while let Some(message) = frames.next()? {
            let event = v1::ForgeEvent::decode(message);
            told.hear(event.map_err(|error| Fault::internal(&error))?);
            if matches!(told.detail(), Some(Detail::Review(_))) {
                return Ok((told, parts.headers));
            }
        }
    }
    Ok((told, parts.headers))
}

impl Told {
    fn detail(&self) -> Option<&Detail> {
        self.last.as_ref()?.detail.as_ref()
    }

    fn hear(&mut self, event: v1::ForgeEvent) {
        let took = event.duration.as_ref().map_or(0, milliseconds);
        if event.state() != State::Running {
            self.whole += took;
        }
        if event.stage() == Stage::Build && event.state() != State::Running {
            self.compiling += took;
            self.compiled = event.state() == State::Succeeded;
        }
        if let Some(Detail::Diagnostics(found)) = &event.detail {
            // A repaired source is judged by its own findings.
            self.diagnostics = found
                .diagnostics
                .iter()
                .map(|one| match one.rendered.is_empty() {
                    true => one.message.clone(),
                    false => one.rendered.clone(),
                })
                .collect();
        }
        self.last = Some(event);
    }

    /// The guide's answer.
    fn answer(&self, skill: &Skill) -> Value {
        let name = &skill.name;
        let mut value = json!({
            "success": true,
            "skill_name": name,
            "module_name": skill.module_name(),
            "file_path": skill.file_path(),
            "cargo_check_ok": self.compiled,
            "hot_reloaded": false,
            "compilation_time_ms": self.compiling,
            "load_time_ms": self.whole,
            "forge": self.last.as_ref().map(|event| event.forge.as_str()),
        });
        let message = match self.detail() {
            Some(Detail::Published(_)) => {
                value["hot_reloaded"] = true.into();
                format!(
                    "Skill '{name}' created and hot-reloaded successfully. Ready for immediate use."
                )
            }
            Some(Detail::Review(review)) => {
                value["approval"] = review.approval.clone().into();
                value["permissions_digest"] = review.permissions_digest.clone().into();
                format!(
                    "Skill '{name}' created. A person has to accept its permissions: decide {}, and it is loaded.",
                    review.approval
                )
            }
            Some(Detail::NotPublished(not)) if not.reason() == Reason::HotReloadOff => format!(
                "Skill '{name}' created. Hot-reload is disabled: trigger it, or enable hot-reload and create it again."
            ),
            other => {
                value["success"] = false.into();
                let reason = self.last.as_ref().map(v1::ForgeEvent::failure_reason);
                if let Some(reason) = reason.filter(|reason| *reason != FailureReason::Unspecified)
                {
                    value["failure_reason"] = reason.as_str_name().into();
                }
                value["cargo_stderr"] = self.diagnostics.join("\n").into();
                if let Some(Detail::NeedsParameters(needs)) = other {
                    value["needs_parameters"] = needed(needs);
                }
                failure(name, other, self.compiled)
            }
        };
        value["message"] = message.into();
        value
    }
}

fn failure(name: &str, detail: Option<&Detail>, compiled: bool) -> String {
    match detail {
        Some(Detail::Diagnostics(_)) if compiled => {
            format!("Skill '{name}' does not pass its checks; `cargo_stderr` says why.")
        }
        Some(Detail::Diagnostics(_)) => {
            format!("Skill '{name}' does not compile; `cargo_stderr` says why.")
        }
        Some(Detail::NeedsParameters(needs)) => {
            format!(
                "The template {} needs more; send it in `set`.",
                needs.template
            )
        }
        Some(Detail::Failure(why)) => format!("Skill '{name}' was not created: {why}"),
        _ => format!("Skill '{name}' was not created."),
    }
}

fn needed(needs: &v1::NeedsParameters) -> Value {
    let all = needs.parameters.iter();
    all.map(|p| json!({ "name": p.name, "description": p.description, "example": p.example }))
        .collect()
}

fn unanswered() -> Status {
    let error = std::io::Error::other("a forge that was never asked for");
    Fault::internal(&error).into()
}
