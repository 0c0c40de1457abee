//! `nexus forge`.

use std::path::Path;

use anyhow::Context as _;
use nexus_proto::v1::{
    Agent, CancelForgeRequest, EnsureAgentRequest, ForgeAgentRequest, ForgeBuilder, ForgeEvent,
    GetForgeRequest, GetHotReloadRequest, ListForgedAgentsRequest, ListForgesRequest,
    SetHotReloadRequest, TriggerHotReloadRequest, WatchForgeRequest, forge,
    forge_event::{Detail, State},
    not_published::Reason,
    trigger_hot_reload_response,
};
use tonic::Streaming;

use super::{
    args::{Forge, ForgeCreate, ForgeWhat, Mode},
    build,
    connection::Client,
    examples,
    exit::Exit,
    failure::Misuse,
    output::Output,
    text::{id, name},
    view::{agent, forge as view, stages::Stages},
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
        Forge::Ensure(what) => return ensure(*what, client, output).await,
        Forge::Show { id } => {
            let request = GetForgeRequest {
                name: name("forges", &id),
            };
            let forge = client.forge().get_forge(request).await?.into_inner();
            output.message(&forge, view::forge)?;
        }
        Forge::Watch { id, after } => {
            let request = WatchForgeRequest {
                name: name("forges", &id),
                after_sequence: after,
            };
            let events = client.forge().watch_forge(request).await?.into_inner();
            return follow(events, true, output).await;
        }
        Forge::Cancel { id } => {
            let request = CancelForgeRequest {
                name: name("forges", &id),
            };
            let forge = client.forge().cancel_forge(request).await?.into_inner();
            output.message(&forge, view::forge)?;
        }
        Forge::Build(what) => return build::run(&what, client, output).await,
        Forge::List { all: true } => {
            let mut forges = Vec::new();
            let mut request = ListForgesRequest::default();
            loop {
                let page = client.forge().list_forges(request.clone()).await?;
                let page = page.into_inner();
                forges.extend(page.forges);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            output.list("forges", &forges, view::forges)?;
        }
        Forge::List { all: false } => {
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
        Forge::Trigger { name } => return trigger(name, client, output).await,
    }
    Ok(Exit::Success)
}

async fn trigger(name: String, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    let request = TriggerHotReloadRequest {
        name: format!("agents/{name}"),
        ..TriggerHotReloadRequest::default()
    };
    let answer = client.forge().trigger_hot_reload(request).await?;
    let answer = answer.get_ref();
    output.message(answer, view::triggered)?;
    Ok(match answer.state() {
        trigger_hot_reload_response::State::Review => Exit::Waiting,
        _ => Exit::Success,
    })
}

async fn switch(enabled: bool, client: &Client, output: &Output) -> anyhow::Result<()> {
    let request = SetHotReloadRequest { enabled };
    let switch = client.forge().set_hot_reload(request).await?;
    output.message(switch.get_ref(), view::hot_reload)
}

/// Tells each stage on stderr; the live agent is the data. In JSON the events are the data.
async fn create(arguments: ForgeCreate, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    let request = ForgeAgentRequest {
        validate_only: arguments.validate_only,
        request_id: arguments.request_id,
        ..request(arguments.what)?
    };
    let events = client.forge().forge_agent(request).await?.into_inner();
    follow(events, arguments.wait, output).await
}

/// Forges an agent unless it is there. The agent is the data, or the forge that waits for a person.
async fn ensure(what: ForgeWhat, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    let request = EnsureAgentRequest {
        forge: Some(request(what)?),
    };
    let answer = client.forge().ensure_agent(request).await?.into_inner();
    output.message(&answer, view::ensured)?;
    Ok(match (&answer.agent, &answer.forge) {
        (Some(_), _) => Exit::Success,
        (None, Some(forge)) => stands(forge.state()),
        (None, None) => Exit::Error,
    })
}

/// How a forge stands, as an exit code.
fn stands(state: forge::State) -> Exit {
    match state {
        forge::State::Succeeded => Exit::Success,
        forge::State::Held => Exit::Refused,
        forge::State::Cancelled => Exit::Cancelled,
        forge::State::Interrupted => Exit::Interrupted,
        forge::State::Waiting => Exit::Waiting,
        _ => Exit::Failure,
    }
}

/// Tells what a forge tells, to its end, or until a person is asked unless `wait`.
async fn follow(
    mut events: Streaming<ForgeEvent>,
    wait: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let mut last: Option<ForgeEvent> = None;
    let mut stages = Stages::new(output.is_json());
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(status) => {
                stages.clear();
                if let Some(last) = &last {
                    output.note(&format!(
                        "the forge goes on without this command; `nexus forge watch {} --after {}` follows it",
                        id(&last.forge),
                        last.sequence
                    ));
                }
                return Err(status.into());
            }
        };
        if output.is_json() {
            output.next(&event, |_| String::new())?;
        } else {
            stages.tell(&event);
        }
        // The forge goes on without us once a person has said yes.
        let leave = matches!(event.detail, Some(Detail::Review(_))) && !wait;
        last = Some(event);
        if leave {
            break;
        }
    }
    stages.clear();
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
        _ if last.state() == State::Cancelled => (Exit::Cancelled, None),
        _ if last.state() == State::Interrupted => (Exit::Interrupted, None),
        _ if last.state() == State::Succeeded => (Exit::Success, None),
        _ => (Exit::Failure, None),
    }
}

fn request(arguments: ForgeWhat) -> anyhow::Result<ForgeAgentRequest> {
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
        examples: arguments
            .examples
            .iter()
            .map(|file| examples::read(file))
            .collect::<anyhow::Result<Vec<_>>>()?
            .concat(),
        builder: match (arguments.compile, arguments.remote) {
            (true, _) => ForgeBuilder::Local,
            (_, true) => ForgeBuilder::Remote,
            _ => ForgeBuilder::Unspecified,
        }
        .into(),
        shadow_inputs: arguments.shadow_inputs,
        ..ForgeAgentRequest::default()
    })
}

pub(super) fn read(file: &Path) -> anyhow::Result<String> {
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
