//! `nexus forge build`: a source to a component, by the host's compiler.

use std::fs;

use anyhow::{Context as _, ensure};
use nexus_manifest::Digest;
use nexus_proto::v1::{
    BuildComponentRequest, build_component_response::Event, diagnostic::Severity,
};
use serde_json::json;

use super::{
    args::ForgeBuild, connection::Client, exit::Exit, forge::read, output::Output, text::line,
    view::forge as view,
};

pub(crate) async fn run(
    what: &ForgeBuild,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Exit> {
    let request = BuildComponentRequest {
        source: read(&what.source)?,
        manifest: read(&what.manifest)?,
    };
    let mut stream = client.build().build_component(request).await?.into_inner();
    let (mut head, mut component) = (None, Vec::new());
    while let Some(message) = stream.message().await? {
        match message.event {
            Some(Event::Log(text)) => output.note(&line(&text)),
            Some(Event::Diagnostics(found)) => {
                output.message(&found, view::diagnostics)?;
                let failed = |severity| severity == Severity::Error;
                if found
                    .diagnostics
                    .iter()
                    .any(|found| failed(found.severity()))
                {
                    return Ok(Exit::Failure);
                }
            }
            Some(Event::Component(announced)) => head = Some(announced),
            Some(Event::Chunk(chunk)) => component.extend_from_slice(&chunk),
            None => {}
        }
    }
    let head = head.context("the host sent no component")?;
    let digest = Digest::of(&component).to_string();
    ensure!(
        digest == head.component_digest,
        "the host announced {} and sent {digest}; nothing was written",
        line(&head.component_digest)
    );
    fs::write(&what.out, &component)
        .with_context(|| format!("failed to write {}", what.out.display()))?;
    if output.is_json() {
        output.json(&json!({ "component_digest": digest, "size_bytes": component.len() }))?;
    } else {
        output.text(&format!("{} {digest}", what.out.display()))?;
    }
    Ok(Exit::Success)
}
