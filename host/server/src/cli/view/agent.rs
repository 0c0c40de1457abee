use std::collections::BTreeSet;
use std::fmt::Write as _;

use nexus_proto::v1::{
    Agent, DeployAgentResponse, Generation, GenerationDiff, Permission, PermissionDiff,
    deploy_agent_response,
};
use serde_json::{Map, Value};

use crate::cli::text::{Table, fields, id, line, time, word};

/// One agent and all that it may do.
pub(crate) fn full(agent: &Agent) -> String {
    let mut text = fields([
        ("name", id(&agent.name).to_owned()),
        ("state", word(agent.state().as_str_name(), "STATE_")),
        ("summary", agent.summary.clone()),
        ("version", agent.version.clone()),
        ("generation", agent.generation.to_string()),
        ("component", agent.component_digest.clone()),
        ("owner", agent.owner.clone()),
        ("tags", agent.tags.join(", ")),
        ("created", time(agent.create_time.as_ref())),
        ("updated", time(agent.update_time.as_ref())),
        ("input", agent.input_schema.clone()),
        ("output", agent.output_schema.clone()),
        ("permissions", agent.permissions_digest.clone()),
    ]);
    text.push_str(&permissions(&agent.permissions));
    text
}

/// The `[config]` of an agent whose manifest is known: what the forge made has one on record.
pub(crate) fn config(agent: &Agent) -> String {
    let manifest = agent
        .lineage
        .as_ref()
        .and_then(|lineage| lineage.manifest.parse::<toml::Table>().ok());
    let config = manifest
        .as_ref()
        .and_then(|manifest| manifest.get("config"));
    let Some(config) = config.and_then(toml::Value::as_table) else {
        return String::new();
    };
    let mut text = "config:\n".to_owned();
    for (name, value) in config {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} = {}", line(name), line(&value.to_string()));
    }
    text
}

/// What is asked for, one line each.
pub(crate) fn permissions(permissions: &[Permission]) -> String {
    if permissions.is_empty() {
        return "  no permissions\n".to_owned();
    }
    let mut text = String::new();
    for permission in permissions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}", line(&permission.display));
    }
    text
}

/// What is asked for beside what was asked for before: `+` is new, `-` is gone, `~` has changed.
pub(crate) fn permission_diff(diff: Option<&PermissionDiff>) -> String {
    let Some(diff) = diff.filter(|diff| diff.from_generation > 0) else {
        return String::new();
    };
    let shown = |permission: Option<&Permission>| {
        permission
            .map(|permission| line(&permission.display))
            .unwrap_or_default()
    };
    let mut text = format!("  compared with generation {}:\n", diff.from_generation);
    let mut entry = |sign: char, words: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {sign} {words}");
    };
    for permission in &diff.added {
        entry('+', shown(Some(permission)));
    }
    for permission in &diff.removed {
        entry('-', shown(Some(permission)));
    }
    for change in &diff.changed {
        let (before, after) = (shown(change.before.as_ref()), shown(change.after.as_ref()));
        entry('~', format!("{before}\n    {after}"));
    }
    text.push_str(match diff.widens {
        true => "  it may do more than before\n",
        false => "  it may do nothing that it might not do before\n",
    });
    text
}

/// What differs between two generations.
pub(crate) fn diff(diff: &GenerationDiff) -> String {
    let mut text = String::new();
    let sides = [
        ("from", &diff.from, &diff.from_schedule),
        ("to", &diff.to, &diff.to_schedule),
    ];
    for (side, generation, schedule) in sides {
        let Some(generation) = generation else {
            continue;
        };
        let _ = writeln!(
            text,
            "{side:<5} generation {}, version {}, {}{}{}",
            generation.generation,
            line(&generation.version),
            line(&generation.component_digest),
            if schedule.is_empty() {
                ""
            } else {
                ", runs at "
            },
            line(schedule)
        );
    }
    text.push_str(&permission_diff(diff.permission_diff.as_ref()));
    text.push_str(&config_diff(&diff.from_config, &diff.to_config));
    text
}

/// The members of the config that are new, gone or changed.
fn config_diff(from: &str, to: &str) -> String {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let (from, to) = (read(from), read(to));
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let mut text = String::new();
    for name in names {
        let shown = |value: &Value| line(&value.to_string());
        let (before, after) = (from.get(name).map(shown), to.get(name).map(shown));
        let change = match (before, after) {
            (Some(before), None) => format!("- config {} = {before}", line(name)),
            (None, Some(after)) => format!("+ config {} = {after}", line(name)),
            (Some(before), Some(after)) if before != after => {
                format!("~ config {} = {before}\n    {after}", line(name))
            }
            _ => continue,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {change}");
    }
    text
}

/// The agents, one line each.
pub(crate) fn list(agents: &[Agent]) -> String {
    let mut table = Table::new([
        "NAME",
        "STATE",
        "GENERATION",
        "VERSION",
        "UPDATED",
        "SUMMARY",
    ]);
    for agent in agents {
        table.row([
            id(&agent.name).to_owned(),
            word(agent.state().as_str_name(), "STATE_"),
            agent.generation.to_string(),
            agent.version.clone(),
            time(agent.update_time.as_ref()),
            agent.summary.clone(),
        ]);
    }
    table.to_string()
}

/// The generations, one line each.
pub(crate) fn generations(generations: &[Generation]) -> String {
    let mut table = Table::new([
        "GENERATION",
        "STATE",
        "VERSION",
        "OWNER",
        "CREATED",
        "COMPONENT",
    ]);
    for generation in generations {
        table.row([
            generation.generation.to_string(),
            word(generation.state().as_str_name(), "STATE_"),
            generation.version.clone(),
            generation.owner.clone(),
            time(generation.create_time.as_ref()),
            generation.component_digest.clone(),
        ]);
    }
    table.to_string()
}

/// What became of an upload, and what to do about it.
pub(crate) fn deployed(response: &DeployAgentResponse) -> String {
    let name = response
        .agent
        .as_ref()
        .map_or("the agent", |agent| id(&agent.name));
    match response.state() {
        deploy_agent_response::State::Review => format!(
            "{} waits for a person to accept its permissions\n{}{}\
             `nexus approvals approve {}` shows and accepts them\n",
            line(name),
            permissions(&response.permissions),
            permission_diff(response.permission_diff.as_ref()),
            line(id(&response.approval)),
        ),
        _ => response.agent.as_ref().map(full).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_agent_stay_on_their_line() {
        let agent = Agent {
            name: "agents/a".to_owned(),
            summary: "ok\nowner: root\u{1b}[1A".to_owned(),
            permissions: vec![Permission {
                display: "GET https://a.example\n  no permissions".to_owned(),
                permission: None,
            }],
            ..Agent::default()
        };
        for text in [full(&agent), list(std::slice::from_ref(&agent))] {
            assert!(!text.contains('\u{1b}'));
            assert!(!text.lines().any(|line| line.starts_with("owner: root")));
            assert!(!text.lines().any(|line| line == "  no permissions"));
        }
    }

    #[test]
    fn a_diff_tells_what_became_of_the_config() {
        let from = r#"{"base":"https://a.example","gone":1,"same":true}"#;
        let to = r#"{"base":"https://b.example","new":["\u001b"],"same":true}"#;
        let expected = "  ~ config base = \"https://a.example\"\n    \"https://b.example\"\n  - config gone = 1\n  + config new = [\"\\u001b\"]\n";
        assert_eq!(config_diff(from, to), expected);
        assert_eq!(config_diff(from, from), "");
    }
}
