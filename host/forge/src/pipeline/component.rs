//! Who makes a component of the source.

use super::End;
use super::make::finding;
use super::plan::Plan;
use crate::build::{self, Built, BuiltBy, RemoteError};
use crate::event::Detail;
use crate::forge::Inner;
use crate::request::Request;
use crate::stages::Stages;

/// Has the component made by whom the request names or, if it names nobody, by whom the configuration
/// does. Nobody else is ever tried instead.
pub(super) async fn build(
    forge: &Inner,
    request: &Request,
    source: &str,
    plan: &Plan,
    stages: &Stages,
) -> Result<Built, End> {
    let by = maker(forge, request, plan.template.is_some());
    let built = match by {
        BuiltBy::Prebuilt => return prebuilt(forge, plan, stages).await,
        BuiltBy::Local => forge.builder.build(source, &plan.text).await,
        BuiltBy::Remote => match &forge.remote {
            Some(remote) => {
                let told = |line: &str| stages.tell(Detail::Log(line.to_owned()));
                remote.build(source, &plan.text, told).await
            }
            None => Err(RemoteError::NotConfigured.into()),
        },
    };
    built.map_err(|error| refused(&error))
}

/// Refuses what could not be compiled here before a model is asked, and paid, for it.
pub(super) async fn can_compile(forge: &Inner, request: &Request) -> Result<(), End> {
    if !matches!(maker(forge, request, false), BuiltBy::Local) {
        return Ok(());
    }
    match forge.builder.standing().await {
        Some(Err(error)) => Err(End::failed(&error)),
        Some(Ok(())) | None => Ok(()),
    }
}

fn maker(forge: &Inner, request: &Request, template: bool) -> BuiltBy {
    let always = forge.remote.as_ref().is_some_and(|remote| remote.always);
    request.builder.unwrap_or(match (template, always) {
        (true, _) => BuiltBy::Prebuilt,
        (false, true) => BuiltBy::Remote,
        (false, false) => BuiltBy::Local,
    })
}

/// The template's own component, with the manifest of this agent.
async fn prebuilt(forge: &Inner, plan: &Plan, stages: &Stages) -> Result<Built, End> {
    let template = plan.template.as_deref().unwrap_or("a source");
    let built = forge.prebuilt.build(template, &plan.text);
    let built = built.map_err(|error| refused(&error))?;
    stages.tell(Detail::Log(format!(
        "prebuilt: the template was compiled by {} when this host was built; --compile compiles it here",
        forge.prebuilt.compiler()
    )));
    let compiled = forge.prebuilt.compiled(template, &forge.runtime).await;
    compiled.map_err(|error| End::failed(&error))?;
    Ok(built)
}

fn refused(error: &build::Error) -> End {
    match error {
        build::Error::Rejected(found) => End::Found(error.into(), found.clone()),
        build::Error::NotAnAgent(_) => End::Found(error.into(), vec![finding(error)]),
        other => End::failed(other),
    }
}
