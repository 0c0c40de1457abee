//! The way of a forge: spec, review, source, build, proof, publication.

mod component;
mod lineage;
mod make;
mod plan;
mod secrets;
mod write;

use std::time::Instant;

use nexus_audit::{Event, EventKind};
use nexus_gate::permissions_are_free;

use self::lineage::lineage;
use self::make::{Made, make};
use self::plan::{Plan, plan};
use self::write::write;
use crate::build::Diagnostic;
use crate::event::{Detail, NotPublished, Stage, StageState};
use crate::failure::{Failure, Reason};
use crate::forge::Inner;
use crate::model::Spend;
use crate::publish;
use crate::records::ForgeId;
use crate::request::Request;
use crate::shadow::{self, Shadowed};
use crate::stages::Stages;
use crate::stop::Stop;
use crate::template::NeedsParameters;

/// A forge that ends before its end.
pub(crate) enum End {
    /// The caller has to say more.
    Needs(NeedsParameters),
    /// The source does not compile, is not what its manifest says, or does not answer its examples.
    Found(Reason, Vec<Diagnostic>),
    /// Anything else.
    Failed(Failure),
    /// Somebody cancelled it.
    Cancelled,
}

impl End {
    pub(crate) fn failed<E: std::error::Error + 'static>(error: &E) -> Self
    where
        for<'a> Reason: From<&'a E>,
    {
        Self::Failed(Failure::of(error))
    }
}

/// Runs a forge to its end and tells every stage.
pub(crate) async fn run(
    forge: &Inner,
    id: ForgeId,
    request: Request,
    stages: &Stages,
    stop: &Stop,
) {
    let bounds = forge.model.as_ref().map(|models| models.config.bounds);
    let spend = Spend::of(
        bounds.unwrap_or_default(),
        &forge.ledger,
        &request.principal,
    );
    let outcome = match Box::pin(attempt(forge, id, &request, stages, stop, &spend)).await {
        Ok(outcome) => outcome,
        Err(End::Needs(needs)) => {
            stages.finish(StageState::Stopped, Some(Detail::NeedsParameters(needs)));
            "needs_parameters"
        }
        Err(End::Found(reason, found)) => {
            stages.fail(reason, Detail::Diagnostics(found));
            "build_failed"
        }
        Err(End::Failed(failure)) => {
            stages.fail(failure.reason, Detail::Failure(failure.message));
            "failed"
        }
        Err(End::Cancelled) => {
            stages.finish(StageState::Cancelled, None);
            "cancelled"
        }
    };
    let mut detail = serde_json::json!({ "forge": id, "mode": request.mode.as_str() });
    if spend.used().answers > 0 {
        detail["model"] = serde_json::json!(spend.used());
    }
    let event = Event::new(EventKind::ForgeFinished)
        .principal(request.principal.as_str())
        .agent(request.agent.clone())
        .outcome(outcome)
        .detail(detail);
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
    spend: &Spend<'_>,
) -> Result<&'static str, End> {
    let began = Instant::now();
    // A forge that is cancelled leaves no process and no directory.
    let worked = nexus_sandbox::until(work(forge, request, stages, spend), stop.stopped()).await;
    let (plan, made, shadowed) = worked.unwrap_or(Err(End::Cancelled))?;
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
        shadowed,
        forging: began.elapsed(),
    };
    publish::publish(forge, request, candidate, stages, stop).await
}

/// All that changes nothing for anybody: may be stopped anywhere.
async fn work(
    forge: &Inner,
    request: &Request,
    stages: &Stages,
    spend: &Spend<'_>,
) -> Result<(Plan, Made, Vec<Shadowed>), End> {
    stages.begin(Stage::Spec);
    let plan = plan(forge, request, stages, spend).await?;
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
    // What is in the vault is not for whoever may only forge.
    if request.decides {
        for missing in secrets::missing(&runtime.services().vault, manifest).await {
            stages.tell(Detail::Log(missing));
        }
    }
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
            make(forge, request, source, &plan, stages).await?
        }
        None => write(forge, request, &plan, stages, spend).await?,
    };
    let mut shadowed = Vec::new();
    if !request.shadow.is_empty() {
        stages.begin(Stage::Shadow);
        shadowed = shadow::run(&forge.runtime, request, &made.prepared)
            .await
            .map_err(|message| End::Failed(Failure::new(Reason::Shadow, message)))?;
        stages.end(
            StageState::Succeeded,
            Some(Detail::Shadow(shadowed.clone())),
        );
    }
    Ok((plan, made, shadowed))
}
