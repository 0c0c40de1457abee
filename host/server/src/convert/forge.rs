//! What happens in a forge, and what it made.

use nexus_forge::{
    BuiltBy, Detail, Diagnostic, Event, Forged, ForgedState, Lineage, NotPublished, Reason,
    Shadowed, Stage, StageState,
};
use nexus_manifest::Manifest;
use nexus_proto::v1;
use nexus_proto::v1::forge_event::FailureReason;

use super::{agent, duration, permission_diff, permissions, timestamp};

/// An event of `forges/{forge}` for the wire.
pub(crate) fn forge_event(forge: &str, event: &Event) -> v1::ForgeEvent {
    v1::ForgeEvent {
        sequence: event.sequence,
        stage: match event.stage {
            Stage::Spec => v1::forge_event::Stage::Spec,
            Stage::Review => v1::forge_event::Stage::Review,
            Stage::Source => v1::forge_event::Stage::Source,
            Stage::Build => v1::forge_event::Stage::Build,
            Stage::Proof => v1::forge_event::Stage::Proof,
            Stage::SelfTest => v1::forge_event::Stage::SelfTest,
            Stage::Shadow => v1::forge_event::Stage::Shadow,
            Stage::Publish => v1::forge_event::Stage::Publish,
        }
        .into(),
        state: match event.state {
            StageState::Running => v1::forge_event::State::Running,
            StageState::Succeeded => v1::forge_event::State::Succeeded,
            StageState::Failed => v1::forge_event::State::Failed,
            StageState::Stopped => v1::forge_event::State::Stopped,
            StageState::Cancelled => v1::forge_event::State::Cancelled,
        }
        .into(),
        start_time: Some(timestamp(event.started_ms)),
        duration: event.duration.map(duration),
        detail: event.detail.as_ref().map(detail),
        forge: forge.to_owned(),
        failure_reason: event
            .failed
            .map_or(FailureReason::Unspecified, failed)
            .into(),
    }
}

fn failed(reason: Reason) -> FailureReason {
    match reason {
        Reason::Request => FailureReason::Request,
        Reason::ModelUnavailable => FailureReason::ModelUnavailable,
        Reason::ModelBusy => FailureReason::ModelBusy,
        Reason::ModelRefused => FailureReason::ModelRefused,
        Reason::ModelTimeout => FailureReason::ModelTimeout,
        Reason::ModelAnswer => FailureReason::ModelAnswer,
        Reason::ModelBudget => FailureReason::ModelBudget,
        Reason::Compile => FailureReason::Compile,
        Reason::CompileLimit => FailureReason::CompileLimit,
        Reason::CompileUnavailable => FailureReason::CompileUnavailable,
        Reason::Proof => FailureReason::Proof,
        Reason::Examples => FailureReason::Examples,
        Reason::Shadow => FailureReason::Shadow,
        Reason::Denied => FailureReason::Denied,
        Reason::Forbidden => FailureReason::Forbidden,
        Reason::Expired => FailureReason::Expired,
        Reason::Stale => FailureReason::Stale,
        Reason::Host => FailureReason::Host,
    }
}

fn detail(detail: &Detail) -> v1::forge_event::Detail {
    use v1::forge_event::Detail as Wire;
    match detail {
        Detail::Spec { manifest, template } => Wire::Spec(spec(manifest, template.as_deref())),
        Detail::Diagnostics(all) => Wire::Diagnostics(diagnostics(all)),
        Detail::NeedsParameters(needs) => Wire::NeedsParameters(v1::NeedsParameters {
            template: needs.template.clone().unwrap_or_default(),
            parameters: needs
                .parameters
                .iter()
                .map(|missing| v1::TemplateParameter {
                    name: missing.name.clone(),
                    description: missing.description.clone(),
                    example: missing.example.clone(),
                })
                .collect(),
            templates: needs.templates.clone(),
        }),
        Detail::NeedsReview {
            approval,
            manifest,
            permissions_digest,
            succession,
            planned,
        } => Wire::Review(v1::NeedsReview {
            approval: format!("approvals/{approval}"),
            permissions: permissions(manifest),
            permissions_digest: permissions_digest.to_string(),
            permission_diff: Some(permission_diff(
                &succession.permissions,
                succession.generation,
                succession.widens,
            )),
            planned: planned.clone(),
        }),
        Detail::Component {
            digest,
            size,
            imports,
        } => Wire::Component(v1::BuiltComponent {
            component_digest: digest.to_string(),
            size_bytes: *size as u64,
            imports: imports.clone(),
        }),
        Detail::Tested(tested) => Wire::Tested(v1::TestedExamples {
            examples: u32::try_from(tested.examples).unwrap_or(u32::MAX),
            planned: tested.planned.clone(),
        }),
        Detail::Shadow(runs) => Wire::Shadow(v1::ShadowRuns {
            runs: runs.iter().map(shadow_run).collect(),
        }),
        Detail::Published(live) => Wire::Published(agent(live)),
        Detail::NotPublished { reason, digest } => Wire::NotPublished(v1::NotPublished {
            reason: match reason {
                NotPublished::HotReloadOff => v1::not_published::Reason::HotReloadOff,
                NotPublished::ValidateOnly => v1::not_published::Reason::ValidateOnly,
            }
            .into(),
            component_digest: digest.to_string(),
        }),
        Detail::Log(line) => Wire::Log(line.clone()),
        Detail::ModelText(text) => Wire::ModelText(text.clone()),
        Detail::Failure(why) => Wire::Failure(why.clone()),
    }
}

fn shadow_run(run: &Shadowed) -> v1::ShadowRun {
    v1::ShadowRun {
        input: run.input.clone(),
        outcome: run.outcome.clone(),
        output: run.output.clone(),
        reads: run.reads.clone(),
        planned: run.planned.clone(),
    }
}

fn spec(manifest: &Manifest, template: Option<&str>) -> v1::ForgeSpec {
    v1::ForgeSpec {
        agent_id: manifest.name.to_string(),
        summary: manifest.summary.clone(),
        template: template.unwrap_or_default().to_owned(),
        input_schema: manifest
            .input
            .as_ref()
            .map(|s| s.as_str().to_owned())
            .unwrap_or_default(),
        permissions: permissions(manifest),
    }
}

/// What a compiler or a check found.
pub(crate) fn diagnostics(all: &[Diagnostic]) -> v1::Diagnostics {
    v1::Diagnostics {
        diagnostics: all.iter().map(diagnostic).collect(),
        truncated: false,
    }
}

fn diagnostic(diagnostic: &Diagnostic) -> v1::Diagnostic {
    use nexus_forge::build::Level;
    v1::Diagnostic {
        severity: match diagnostic.level {
            Level::Error => v1::diagnostic::Severity::Error,
            Level::Warning => v1::diagnostic::Severity::Warning,
            _ => v1::diagnostic::Severity::Note,
        }
        .into(),
        code: diagnostic.code.clone().unwrap_or_default(),
        message: diagnostic.message.clone(),
        file: "src/lib.rs".to_owned(),
        line: diagnostic.line,
        column: diagnostic.column,
        rendered: diagnostic.rendered.clone(),
    }
}

/// Where a component came from.
pub(crate) fn lineage(lineage: &Lineage) -> v1::Lineage {
    v1::Lineage {
        mode: forge_mode(&lineage.mode).into(),
        prompt_digest: lineage.prompt_digest.to_string(),
        model: lineage.model.clone().unwrap_or_default(),
        template: lineage.template.clone().unwrap_or_default(),
        spec: lineage.spec.clone(),
        source: lineage.source.clone(),
        manifest: lineage.manifest.clone(),
        toolchain: lineage.toolchain.clone(),
        flags: lineage.flags.clone(),
        component_digest: lineage.component.to_string(),
        create_time: Some(timestamp(lineage.created_ms)),
        builder: match lineage.builder {
            BuiltBy::Prebuilt => v1::ForgeBuilder::Prebuilt,
            BuiltBy::Local => v1::ForgeBuilder::Local,
            BuiltBy::Remote => v1::ForgeBuilder::Remote,
        }
        .into(),
        build_host: lineage.build_host.clone().unwrap_or_default(),
    }
}

/// How a forge gets its source, by the mode's stable name.
pub(crate) fn forge_mode(mode: &str) -> v1::ForgeMode {
    match mode {
        "template" => v1::ForgeMode::Template,
        "source" => v1::ForgeMode::Source,
        "model" => v1::ForgeMode::Model,
        _ => v1::ForgeMode::Unspecified,
    }
}

/// One component that this host has forged, if anything of it is left.
pub(crate) fn forged_agent(forged: &Forged) -> v1::ForgedAgent {
    v1::ForgedAgent {
        agent: crate::names::of_agent(&forged.agent),
        state: match forged.state {
            ForgedState::Published => v1::forged_agent::State::Published,
            ForgedState::Review => v1::forged_agent::State::Review,
            ForgedState::Held => v1::forged_agent::State::Held,
            ForgedState::Refused => v1::forged_agent::State::Refused,
        }
        .into(),
        mode: forge_mode(&forged.mode).into(),
        component_digest: forged.component.to_string(),
        create_time: Some(timestamp(forged.created_ms)),
        duration: Some(duration(forged.duration)),
        principal: forged.principal.to_string(),
    }
}
