//! What is asked for, before there is a source.

use std::sync::Arc;

use nexus_manifest::Manifest;

use super::End;
use super::write::ask_spec;
use crate::failure::{Failure, Reason};
use crate::forge::Inner;
use crate::model::Spend;
use crate::request::{Mode, Request};
use crate::selftest::Example;
use crate::stages::Stages;
use crate::template;

/// What a source is made by, before there is one.
pub(super) struct Plan {
    pub(super) manifest: Arc<Manifest>,
    pub(super) text: String,
    pub(super) template: Option<String>,
    /// `None`: the model writes it.
    pub(super) source: Option<String>,
    /// What it has to answer.
    pub(super) examples: Vec<Example>,
    /// What a template's parameters are that nobody set.
    pub(super) defaults: Vec<String>,
}

/// Reads the request, or has the model say what it means.
pub(super) async fn plan(
    forge: &Inner,
    request: &Request,
    stages: &Stages,
    spend: &Spend<'_>,
) -> Result<Plan, End> {
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
                // What the caller expects comes first.
                examples: [request.examples.clone(), rendered.examples].concat(),
                defaults: rendered.defaults,
            })
        }
        Mode::Source { source, manifest } => {
            let parsed = parse(manifest)?;
            if parsed.name != request.agent {
                let message = format!(
                    "the manifest names the agent {}, and {} was asked for; make them the same",
                    parsed.name, request.agent
                );
                return Err(End::Failed(Failure::new(Reason::Request, message)));
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
        Mode::Model => ask_spec(forge, request, stages, spend).await,
    }
}

fn parse(manifest: &str) -> Result<Arc<Manifest>, End> {
    Manifest::parse(manifest).map(Arc::new).map_err(|error| {
        let message = format!("the manifest is not valid: {}", error.to_line());
        End::Failed(Failure::new(Reason::Request, message))
    })
}
