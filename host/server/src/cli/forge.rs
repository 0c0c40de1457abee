//! `nexus forge`.

use std::{io::IsTerminal as _, path::Path};

use anyhow::Context as _;
use nexus_proto::v1::{
    Agent, ForgeAgentRequest, ForgeEvent, GetHotReloadRequest, ListForgedAgentsRequest,
    SetHotReloadRequest,
    forge_event::{Detail, State},
    not_published::Reason,
};

use super::{
    args::{Forge, ForgeCreate, Mode},
    connection::Client,
    exit::Exit,
    failure::Misuse,
    output::Output,
    view::{agent, forge as view},
};

pub(crate) async fn run(command: Forge, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Forge::Create(arguments) => return create(*arguments, client, output).await,
        Forge::Status => {
            let switch = client
                .forge()
                .get_hot_reload(GetHotReloadRequest {})
                .await?;
            output.message(switch.get_ref(), view::hot_reload)?;
        }
        Forge::Enable => switch(true, client, output).await?,
        Forge::Disable => switch(false, client, output).await?,
        Forge::List => {
            let mut forged = Vec::new();
            let mut request = ListForgedAgentsRequest::default();
            loop {
                let page = client
                    .forge()
                    .list_forged_agents(request.clone())
                    .await?
                    .into_inner();
                forged.extend(page.forged_agents);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            output.list("forgedAgents", &forged, view::list)?;
        }
    }
    Ok(Exit::Success)
}

async fn switch(enabled: bool, client: &Client, output: &Output) -> anyhow::Result<()> {
    let request = SetHotReloadRequest { enabled };
    let switch = client.forge().set_hot_reload(request).await?;
    output.message(switch.get_ref(), view::hot_reload)
}

/// Tells each stage on stderr; the live agent is the data. In JSON the events are the data.
async fn create(arguments: ForgeCreate, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    let wait = arguments.wait;
    let request = request(arguments)?;
    let mut events = client.forge().forge_agent(request).await?.into_inner();
    let mut last: Option<ForgeEvent> = None;
    let is_watched = std::io::stderr().is_terminal();
    while let Some(event) = events.message().await? {
        if output.is_json() {
            output.next(&event, |_| String::new())?;
        } else if is_watched || event.detail.is_some() || event.state() != State::Running {
            // That a stage begins is worth a line only to someone who waits for its end.
            let text = view::event(&event);
            if !text.is_empty() {
                output.note(text.trim_end_matches('\n'));
            }
        }
        // The forge goes on without us once a person has said yes.
        let leave = matches!(event.detail, Some(Detail::Review(_))) && !wait;
        last = Some(event);
        if leave {
            break;
        }
    }
    let (exit, published) = ending(last.as_ref());
    if let Some(published) = published
        && !output.is_json()
    {
        output.text(&agent::full(published))?;
    }
    if last.is_none() {
        anyhow::bail!("the host told nothing of the forge");
    }
    Ok(exit)
}

/// How the last event of a forge says that it ended.
fn ending(last: Option<&ForgeEvent>) -> (Exit, Option<&Agent>) {
    let Some(last) = last else {
        return (Exit::Error, None);
    };
    match &last.detail {
        Some(Detail::Published(agent)) => (Exit::Success, Some(agent)),
        Some(Detail::Review(_)) => (Exit::Waiting, None),
        Some(Detail::NotPublished(not)) if not.reason() == Reason::HotReloadOff => {
            (Exit::Refused, None)
        }
        Some(Detail::NotPublished(_)) => (Exit::Success, None),
        _ if last.state() == State::Succeeded => (Exit::Success, None),
        _ => (Exit::Failure, None),
    }
}

fn request(arguments: ForgeCreate) -> anyhow::Result<ForgeAgentRequest> {
    let mode = match (arguments.mode, &arguments.source) {
        (None | Some(Mode::Source), Some(_)) => Mode::Source,
        (Some(Mode::Source), None) => {
            return Err(
                Misuse("--mode source needs --source FILE and --manifest FILE".to_owned()).into(),
            );
        }
        (Some(_), Some(_)) => {
            return Err(Misuse("--source belongs to --mode source".to_owned()).into());
        }
        (mode, None) => mode.unwrap_or(Mode::Template),
    };
    if mode != Mode::Source && arguments.words.is_empty() && arguments.template.is_none() {
        return Err(Misuse(
            "say in words what the agent is to do, or name a --template".to_owned(),
        )
        .into());
    }
    Ok(ForgeAgentRequest {
        agent_id: arguments.name,
        words: arguments.words,
        mode: nexus_proto::v1::ForgeMode::from(mode).into(),
        template: arguments.template.unwrap_or_default(),
        parameters: arguments
            .parameters
            .into_iter()
            .map(|parameter| parameter.0)
            .collect(),
        set: arguments.settings.into_iter().collect(),
        source: arguments
            .source
            .as_deref()
            .map(read)
            .transpose()?
            .unwrap_or_default(),
        manifest: arguments
            .manifest
            .as_deref()
            .map(read)
            .transpose()?
            .unwrap_or_default(),
        request_id: arguments.request_id,
        validate_only: arguments.validate_only,
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use nexus_proto::v1::{NeedsReview, NotPublished};

    use super::*;

    fn ended(detail: Detail) -> Exit {
        let event = ForgeEvent {
            state: State::Stopped.into(),
            detail: Some(detail),
            ..ForgeEvent::default()
        };
        ending(Some(&event)).0
    }

    #[test]
    fn the_last_event_decides_the_exit_code() {
        assert_eq!(ended(Detail::Published(Agent::default())), Exit::Success);
        assert_eq!(ended(Detail::Review(NeedsReview::default())), Exit::Waiting);
        let held = NotPublished {
            reason: Reason::HotReloadOff.into(),
            ..NotPublished::default()
        };
        assert_eq!(ended(Detail::NotPublished(held)), Exit::Refused);
        assert_eq!(ended(Detail::Failure("no".to_owned())), Exit::Failure);
        assert_eq!(ending(None).0, Exit::Error);
    }
}
