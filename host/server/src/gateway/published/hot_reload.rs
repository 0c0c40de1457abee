//! The switch, what was loaded, and loading by hand.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use nexus_proto::v1;
use nexus_proto::v1::trigger_hot_reload_response::State;
use serde_json::{Value, json};
use tonic::Status;
use tonic::body::Body;

use super::names::Skill;
use super::{Answered, words};
use crate::gateway::Stack;
use crate::gateway::call::Sender;

const GET: &str = "/nexus.v1.ForgeService/GetHotReload";
const SET: &str = "/nexus.v1.ForgeService/SetHotReload";
const LIST: &str = "/nexus.v1.ForgeService/ListForgedAgents";
const TRIGGER: &str = "/nexus.v1.ForgeService/TriggerHotReload";

const ON: &str = "New skills will be compiled and activated automatically.";
const OFF: &str = "New skills are compiled and kept; `trigger` activates them.";

pub(super) async fn status<S: Stack>(stack: S, sender: &Sender) -> Answered {
    let asked = async { Ok(v1::GetHotReloadRequest {}) };
    let (switch, headers): (v1::HotReload, _) = sender.call(stack, GET, asked).await?;
    let message = match switch.enabled {
        true => format!("Hot-reload is enabled. {ON}"),
        false => format!("Hot-reload is disabled. {OFF}"),
    };
    Ok((
        json!({ "enabled": switch.enabled, "message": message }),
        headers,
    ))
}

pub(super) async fn switch<S: Stack>(stack: S, sender: &Sender, enabled: bool) -> Answered {
    let asked = async move { Ok(v1::SetHotReloadRequest { enabled }) };
    let (switch, headers): (v1::HotReload, _) = sender.call(stack, SET, asked).await?;
    let message = match switch.enabled {
        true => format!("Hot-reload enabled. {ON}"),
        false => format!("Hot-reload disabled. {OFF}"),
    };
    Ok((json!({ "status": "ok", "message": message }), headers))
}

/// What is live or was, each skill once, the newest first.
pub(super) async fn list<S: Stack>(stack: S, sender: &Sender) -> Answered {
    let (mut skills, mut seen) = (Vec::new(), BTreeSet::new());
    let mut page_token = String::new();
    let headers = loop {
        let asked = v1::ListForgedAgentsRequest {
            page_size: 1_000,
            page_token,
        };
        let asked = async move { Ok(asked) };
        let (page, headers): (v1::ListForgedAgentsResponse, _) =
            sender.call(stack.clone(), LIST, asked).await?;
        for forged in page.forged_agents {
            let published = forged.state() == v1::forged_agent::State::Published;
            if published && seen.insert(forged.agent.clone()) {
                skills.push(listed(&forged));
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break headers;
        }
    };
    let count = skills.len();
    Ok((json!({ "skills": skills, "count": count }), headers))
}

fn listed(forged: &v1::ForgedAgent) -> Value {
    let skill = Skill::of(forged);
    json!({
        "skill_name": skill.name,
        "module_name": skill.module_name(),
        "file_path": skill.file_path(),
        "loaded_at": forged.create_time.map_or(0, |time| time.seconds),
    })
}

pub(super) async fn trigger<S: Stack>(stack: S, sender: &Sender, body: Body) -> Answered {
    let said = Arc::new(OnceLock::new());
    let asked = {
        let said = Arc::clone(&said);
        async move {
            let request: words::Trigger = words::body("request to trigger", body).await?;
            words::named("skill_name", &request.skill_name)?;
            let skill = Skill::named(&request.skill_name);
            skill.has_module(&request.module_name)?;
            let name = format!("agents/{}", skill.agent);
            // Asked for once, so that it is said once.
            let _ = said.set(skill);
            Ok::<_, Status>(v1::TriggerHotReloadRequest {
                name,
                ..v1::TriggerHotReloadRequest::default()
            })
        }
    };
    let (answer, headers): (v1::TriggerHotReloadResponse, _) =
        sender.call(stack, TRIGGER, asked).await?;
    let name = said
        .get()
        .map(|skill| skill.name.clone())
        .unwrap_or_default();
    let compiling = answer
        .forged_agent
        .as_ref()
        .and_then(|forged| forged.duration);
    let compiling = compiling.as_ref().map_or(0, milliseconds);
    let loading = answer.load_duration.as_ref().map_or(0, milliseconds);
    let live = answer.state() == State::Live;
    let message = match live {
        true => format!("Skill '{name}' hot-reloaded successfully. Ready for immediate use."),
        false => format!(
            "Skill '{name}' waits for a person to accept its permissions: decide {}.",
            answer.approval
        ),
    };
    let mut value = json!({
        "success": true,
        "skill_name": name,
        "message": message,
        "compilation_time_ms": compiling,
        "load_time_ms": compiling + loading,
    });
    if !live {
        value["hot_reloaded"] = false.into();
        value["approval"] = answer.approval.into();
        value["permissions_digest"] = answer.permissions_digest.into();
    }
    Ok((value, headers))
}

/// A duration in whole milliseconds, and one if it took any time at all.
pub(super) fn milliseconds(duration: &prost_types::Duration) -> u64 {
    let whole = duration.seconds.saturating_mul(1_000) + i64::from(duration.nanos) / 1_000_000;
    let rounded = whole + i64::from(whole == 0 && duration.nanos > 0);
    u64::try_from(rounded).unwrap_or(0)
}
