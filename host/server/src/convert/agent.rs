//! Agents and their generations.

use nexus_manifest::Manifest;
use nexus_proto::v1;
use nexus_runtime::{AgentChange, Change, Generation, GenerationInfo};

use super::{permissions, timestamp};

/// A live generation as the agent that it is.
pub(crate) fn agent(live: &Generation) -> v1::Agent {
    let manifest = &live.manifest;
    let schema = |schema: &Option<nexus_manifest::Schema>| {
        schema
            .as_ref()
            .map(|schema| schema.as_str().to_owned())
            .unwrap_or_default()
    };
    v1::Agent {
        name: crate::names::of_agent(&manifest.name),
        generation: live.number,
        component_digest: live.digest.to_string(),
        version: manifest.version.clone(),
        summary: manifest.summary.clone(),
        tags: manifest.tags.iter().map(ToString::to_string).collect(),
        permissions: permissions(manifest),
        permissions_digest: live.permissions_digest().to_string(),
        input_schema: schema(&manifest.input),
        output_schema: schema(&manifest.output),
        owner: live.owner.to_string(),
        create_time: Some(timestamp(live.created_ms)),
        update_time: Some(timestamp(live.created_ms)),
        etag: etag(live),
        state: v1::agent::State::Active.into(),
        lineage: None,
    }
}

/// What changes whenever an agent does.
pub(crate) fn etag(live: &Generation) -> String {
    format!("{}-{}", live.number, &live.digest.to_hex()[..16])
}

/// One generation of an agent whose live one is `live`.
pub(crate) fn generation(info: &GenerationInfo, manifest: &Manifest, live: u64) -> v1::Generation {
    let state = if info.number == live {
        v1::generation::State::Live
    } else {
        v1::generation::State::Retained
    };
    v1::Generation {
        name: format!(
            "{}/generations/{}",
            crate::names::of_agent(&info.agent),
            info.number
        ),
        generation: info.number,
        component_digest: info.digest.to_string(),
        version: info.version.clone(),
        permissions: permissions(manifest),
        permissions_digest: info.permissions.to_string(),
        owner: info.owner.to_string(),
        create_time: Some(timestamp(info.created_ms)),
        state: state.into(),
    }
}

/// A change of an agent, for a watcher, with the agent as it is now if it is still there.
pub(crate) fn agent_event(change: &AgentChange, live: Option<&Generation>) -> v1::AgentEvent {
    let kind = match change.change {
        Change::Published(_) => v1::agent_event::Change::Published,
        Change::RolledBack(_) => v1::agent_event::Change::RolledBack,
        Change::Removed => v1::agent_event::Change::Deleted,
    };
    let gone = || v1::Agent {
        name: crate::names::of_agent(&change.agent),
        ..v1::Agent::default()
    };
    v1::AgentEvent {
        change: kind.into(),
        agent: Some(live.map_or_else(gone, agent)),
        event_time: Some(super::now()),
    }
}
