use std::fmt::Write as _;

use nexus_proto::v1::{
    Diagnostics, EnsureAgentResponse, Forge, ForgeEvent, ForgedAgent, HotReload, NeedsParameters,
    ShadowRun, TriggerHotReloadResponse,
    forge_event::{Detail, State},
    not_published::Reason,
    trigger_hot_reload_response,
};

use super::agent;
use crate::cli::text::{Table, block, fields, id, line, seconds, time, word};

/// One event of a forge, for people. Empty where there is nothing to say.
pub(crate) fn event(event: &ForgeEvent) -> String {
    let stage = word(event.stage().as_str_name(), "STAGE_");
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    match event.state() {
        State::Running if event.detail.is_none() => {
            let _ = writeln!(text, "{stage:<10} ...");
        }
        State::Running | State::Unspecified => {}
        state => {
            let _ = writeln!(
                text,
                "{stage:<10} {:<10} {}",
                word(state.as_str_name(), "STATE_"),
                seconds(event.duration.as_ref())
            );
        }
    }
    match &event.detail {
        Some(Detail::Spec(spec)) => {
            let _ = writeln!(text, "  {}: {}", line(&spec.agent_id), line(&spec.summary));
            if !spec.template.is_empty() {
                let _ = writeln!(text, "  template {}", line(&spec.template));
            }
            text.push_str(&agent::permissions(&spec.permissions));
        }
        Some(Detail::Diagnostics(found)) => text.push_str(&diagnostics(found)),
        Some(Detail::NeedsParameters(needs)) => text.push_str(&parameters(needs)),
        Some(Detail::Review(review)) => {
            text.push_str("  a person has to accept what it may do:\n");
            text.push_str(&agent::permissions(&review.permissions));
            text.push_str(&agent::permission_diff(review.permission_diff.as_ref()));
            text.push_str(&planned(&review.planned));
            let approval = line(id(&review.approval));
            let _ = writeln!(
                text,
                "  `nexus approvals show {approval} --source` shows its source, `nexus approvals approve {approval}` accepts it"
            );
        }
        Some(Detail::Component(component)) => {
            let _ = writeln!(
                text,
                "  {} bytes, {}, imports {}",
                component.size_bytes,
                line(&component.component_digest),
                line(&imports(&component.imports))
            );
        }
        Some(Detail::Tested(tested)) => {
            let _ = writeln!(
                text,
                "  {} examples answered as they had to be",
                tested.examples
            );
            text.push_str(&planned(&tested.planned));
        }
        Some(Detail::Shadow(shadow)) => text.push_str(&shadow_runs(&shadow.runs)),
        Some(Detail::Published(published)) => {
            let _ = writeln!(
                text,
                "  {} is live, generation {}",
                line(id(&published.name)),
                published.generation
            );
        }
        Some(Detail::NotPublished(not)) => text.push_str(match not.reason() {
            Reason::HotReloadOff => {
                "  built and kept; hot reload is off, `nexus forge trigger` publishes it, `nexus forge enable` switches it on\n"
            }
            Reason::ValidateOnly | Reason::Unspecified => "  built and checked; not published\n",
        }),
        Some(Detail::Log(log)) => {
            let _ = writeln!(text, "  {}", line(log));
        }
        Some(Detail::ModelText(piece)) => text.push_str(&block(piece)),
        Some(Detail::Failure(failure)) => {
            let _ = writeln!(text, "  {}", block(failure));
        }
        None => {}
    }
    text
}

/// What an agent would have done in its examples.
fn planned(planned: &[String]) -> String {
    let mut text = String::new();
    for effect in planned {
        let _ = writeln!(text, "  would have done: {}", line(effect));
    }
    text
}

/// What an agent did with real reads.
fn shadow_runs(runs: &[ShadowRun]) -> String {
    let mut text = String::new();
    for run in runs {
        let _ = writeln!(
            text,
            "  with {}: {} {}",
            line(&run.input),
            line(&run.outcome),
            line(&run.output)
        );
        for read in &run.reads {
            let _ = writeln!(text, "  has read: {}", line(read));
        }
        text.push_str(&planned(&run.planned));
    }
    text
}

/// What a trigger came to.
pub(crate) fn triggered(answer: &TriggerHotReloadResponse) -> String {
    if answer.state() == trigger_hot_reload_response::State::Review {
        let approval = line(id(&answer.approval));
        return format!(
            "a person has to accept what it may do:\n{}`nexus approvals approve {approval}` shows and accepts it\n",
            agent::permissions(&answer.permissions)
        );
    }
    answer.agent.as_ref().map(agent::full).unwrap_or_default()
}

/// What a component imports. The virtual WASI, which every toolchain brings along and which reaches
/// nothing, is one word of it; `--output json` has every name.
fn imports(names: &[String]) -> String {
    let (inert, mut own): (Vec<_>, Vec<_>) = names
        .iter()
        .map(String::as_str)
        .partition(|name| name.starts_with("wasi:"));
    if !inert.is_empty() {
        own.push("the inert WASI of the toolchain");
    }
    match own.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// What a compiler or a check found.
pub(crate) fn diagnostics(found: &Diagnostics) -> String {
    let mut text = String::new();
    for diagnostic in &found.diagnostics {
        if diagnostic.rendered.is_empty() {
            let _ = writeln!(
                text,
                "  {} {} {}:{}:{}: {}",
                word(diagnostic.severity().as_str_name(), "SEVERITY_"),
                line(&diagnostic.code),
                line(&diagnostic.file),
                diagnostic.line,
                diagnostic.column,
                line(&diagnostic.message)
            );
        } else {
            for rendered in block(&diagnostic.rendered).lines() {
                let _ = writeln!(text, "  {rendered}");
            }
        }
    }
    if found.truncated {
        text.push_str("  and more\n");
    }
    text
}

fn parameters(needs: &NeedsParameters) -> String {
    let mut text = String::new();
    if needs.template.is_empty() {
        text.push_str("  no template fits the words; choose one with --template: ");
        text.push_str(&line(&needs.templates.join(", ")));
        text.push('\n');
    } else {
        let _ = writeln!(text, "  the template {} needs:", line(&needs.template));
        for parameter in &needs.parameters {
            let _ = writeln!(
                text,
                "  --set {}={}   {}",
                line(&parameter.name),
                line(&parameter.example),
                line(&parameter.description)
            );
        }
    }
    text
}

/// One forge and how it stands.
pub(crate) fn forge(forge: &Forge) -> String {
    let mut text = fields([
        ("forge", line(id(&forge.name))),
        ("agent", line(id(&forge.agent))),
        ("state", word(forge.state().as_str_name(), "STATE_")),
        ("mode", word(forge.mode().as_str_name(), "FORGE_MODE_")),
        ("template", line(&forge.template)),
        ("began", time(forge.create_time.as_ref())),
        ("ended", time(forge.end_time.as_ref())),
        ("by", line(&forge.principal)),
    ]);
    if let Some(last) = &forge.last_event {
        text.push_str(&event(last));
    }
    text
}

/// Every forge, one line each.
pub(crate) fn forges(forges: &[Forge]) -> String {
    let mut table = Table::new(["FORGE", "AGENT", "STATE", "STAGE", "MODE", "BEGAN", "BY"]);
    for forge in forges {
        let last = forge.last_event.as_ref();
        table.row([
            id(&forge.name).to_owned(),
            id(&forge.agent).to_owned(),
            word(forge.state().as_str_name(), "STATE_"),
            last.map(|last| word(last.stage().as_str_name(), "STAGE_"))
                .unwrap_or_default(),
            word(forge.mode().as_str_name(), "FORGE_MODE_"),
            time(forge.create_time.as_ref()),
            forge.principal.clone(),
        ]);
    }
    table.to_string()
}

/// The agent that is there, or the forge that tells why it is not.
pub(crate) fn ensured(answer: &EnsureAgentResponse) -> String {
    match (&answer.agent, &answer.forge) {
        (Some(live), _) => agent::full(live),
        (None, Some(made)) => forge(made),
        (None, None) => String::new(),
    }
}

/// What this host has forged, one line each.
pub(crate) fn list(forged: &[ForgedAgent]) -> String {
    let mut table = Table::new([
        "AGENT",
        "STATE",
        "MODE",
        "TOOK",
        "FORGED",
        "BY",
        "COMPONENT",
    ]);
    for agent in forged {
        table.row([
            id(&agent.agent).to_owned(),
            word(agent.state().as_str_name(), "STATE_"),
            word(agent.mode().as_str_name(), "FORGE_MODE_"),
            seconds(agent.duration.as_ref()),
            time(agent.create_time.as_ref()),
            agent.principal.clone(),
            agent.component_digest.clone(),
        ]);
    }
    table.to_string()
}

/// The switch.
pub(crate) fn hot_reload(switch: &HotReload) -> String {
    let state = if switch.enabled {
        "on: forged agents go live"
    } else {
        "off: agents are built and not published"
    };
    let mut text = format!("hot reload is {state}\n");
    if switch.update_time.is_some() {
        let _ = writeln!(
            text,
            "switched at {} by {}",
            time(switch.update_time.as_ref()),
            line(&switch.principal)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use nexus_proto::v1::{Diagnostic, TemplateParameter, forge_event::Stage};

    use super::*;

    fn failed(detail: Detail) -> ForgeEvent {
        ForgeEvent {
            stage: Stage::SelfTest.into(),
            state: State::Failed.into(),
            detail: Some(detail),
            ..ForgeEvent::default()
        }
    }

    #[test]
    fn missing_parameters_say_which_flag_gives_them() {
        let text = event(&failed(Detail::NeedsParameters(NeedsParameters {
            template: "http-json".to_owned(),
            parameters: vec![TemplateParameter {
                name: "origin".to_owned(),
                description: "Where".to_owned(),
                example: "https://api.example.com".to_owned(),
            }],
            templates: Vec::new(),
        })));
        assert!(
            text.contains("--set origin=https://api.example.com"),
            "{text}"
        );
    }

    #[test]
    fn what_every_toolchain_imports_is_one_word() {
        let names = [
            "nexus:agent/http@0.1.0",
            "wasi:io/poll@0.2.6",
            "wasi:cli/exit@0.2.6",
        ];
        assert_eq!(
            imports(&names.map(String::from)),
            "nexus:agent/http@0.1.0 and the inert WASI of the toolchain"
        );
        assert_eq!(imports(&[]), "nothing");
    }

    #[test]
    fn what_the_compiler_quotes_is_escaped() {
        let text = event(&failed(Detail::Diagnostics(Diagnostics {
            diagnostics: vec![Diagnostic {
                rendered: "error\n | \u{1b}[2J\u{202e}".to_owned(),
                ..Diagnostic::default()
            }],
            truncated: true,
        })));
        assert!(text.starts_with("self test"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        assert!(text.contains("and more"));
    }
}
