//! Source to a component that is proven and tried out.

use bytes::Bytes;
use nexus_runtime::{PrepareError, Prepared};

use super::plan::Plan;
use super::{End, component};
use crate::build::{Built, Diagnostic, Level};
use crate::event::{Detail, Stage, StageState};
use crate::failure::Reason;
use crate::forge::{Inner, error_chain};
use crate::request::Request;
use crate::selftest::{self, Tested};
use crate::stages::Stages;

/// A component that could go live.
pub(super) struct Made {
    pub(super) source: String,
    pub(super) built: Built,
    pub(super) prepared: Prepared,
    pub(super) tested: Tested,
}

/// Source to proven component.
pub(super) async fn make(
    forge: &Inner,
    request: &Request,
    source: &str,
    plan: &Plan,
    stages: &Stages,
) -> Result<Made, End> {
    stages.begin(Stage::Build);
    let built = component::build(forge, request, source, plan, stages).await?;
    let warnings = built.warnings.clone();
    let detail = (!warnings.is_empty()).then_some(Detail::Diagnostics(warnings));
    stages.end(StageState::Succeeded, detail);

    stages.begin(Stage::Proof);
    let prepared = forge
        .runtime
        .prepare_forged(Bytes::from(built.component.clone()))
        .await;
    let prepared = prepared.map_err(|error| match error {
        PrepareError::Proof(error) => End::Found(Reason::Proof, vec![finding(&error)]),
        PrepareError::Trial(_) => {
            stages.begin(Stage::SelfTest);
            End::Found(Reason::Proof, vec![finding(&error)])
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
            .map_err(|found| End::Found(Reason::Examples, found))?;
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
pub(super) fn finding(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic {
        level: Level::Error,
        code: None,
        message: error_chain(error),
        line: 0,
        column: 0,
        rendered: format!("error: {}", error_chain(error)),
    }
}
