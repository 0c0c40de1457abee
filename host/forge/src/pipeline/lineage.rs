use nexus_manifest::Digest;

use super::make::Made;
use super::plan::Plan;
use crate::forge::Inner;
use crate::records::Lineage;
use crate::request::{Mode, Request};
use nexus_store::now_ms;

/// Where the component comes from: enough to build it again.
pub(super) fn lineage(forge: &Inner, request: &Request, plan: &Plan, made: &Made) -> Lineage {
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
            .map(|models| models.code.model().to_owned()),
        template: plan.template.clone(),
        spec: spec.to_string(),
        source: made.source.clone(),
        manifest: plan.text.clone(),
        toolchain: made.built.toolchain.clone(),
        flags: made.built.flags.clone(),
        builder: made.built.by,
        build_host: made.built.host.clone(),
        component: made.prepared.digest,
        created_ms: now_ms(),
    }
}
