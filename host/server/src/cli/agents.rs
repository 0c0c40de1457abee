//! `nexus agents`.

use std::path::Path;

use anyhow::Context as _;
use nexus_proto::v1::{
    AcceptAgentRequest, AgentView, DeleteAgentRequest, DeployAgentMetadata, DeployAgentRequest,
    DeployAgentResponse, DiffGenerationsRequest, GetAgentRequest, ListAgentsRequest,
    ListGenerationsRequest, RollbackAgentRequest, deploy_agent_request::Payload,
    deploy_agent_response,
};

use super::{
    args::Agents,
    connection::Client,
    exit::Exit,
    failure::{self, Misuse},
    json,
    output::Output,
    text::{block, name},
    view::agent as view,
};

/// The most bytes that one message of an upload may carry.
const CHUNK: usize = 1 << 20;

pub(crate) async fn run(command: Agents, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Agents::List { tag } => list(tag, client, output).await?,
        Agents::Show {
            name,
            source: false,
        } => show(&name, client, output).await?,
        Agents::Show { name, source: true } => source(&name, client, output).await?,
        Agents::Deploy {
            file,
            accept,
            request_id,
        } => {
            let response = deploy(&file, accept, request_id, client).await?;
            output.message(&response, view::deployed)?;
            if response.state() == deploy_agent_response::State::Review {
                return Ok(Exit::Waiting);
            }
        }
        Agents::Accept {
            name: agent,
            permissions,
        } => {
            let request = AcceptAgentRequest {
                name: name("agents", &agent),
                permissions_digest: permissions,
            };
            let agent = client.agents().accept_agent(request).await?.into_inner();
            output.message(&agent, view::full)?;
        }
        Agents::Diff {
            name: agent,
            from,
            to,
        } => {
            let request = DiffGenerationsRequest {
                name: name("agents", &agent),
                from_generation: from,
                to_generation: to,
            };
            let diff = client.agents().diff_generations(request).await?;
            output.message(diff.get_ref(), view::diff)?;
        }
        Agents::Rollback {
            name: agent,
            generation,
            accept,
        } => {
            let request = RollbackAgentRequest {
                name: name("agents", &agent),
                generation,
                etag: String::new(),
                permissions_digest: accept,
            };
            match client.agents().rollback_agent(request).await {
                Ok(agent) => output.message(agent.get_ref(), view::full)?,
                Err(status) if failure::reason(&status) == "REVIEW_NEEDED" => {
                    output.note(&failure::describe_status(&status));
                    return Ok(Exit::Waiting);
                }
                Err(status) => return Err(status.into()),
            }
        }
        Agents::Remove { name: agent } => {
            let request = DeleteAgentRequest {
                name: name("agents", &agent),
                etag: String::new(),
            };
            let name = request.name.clone();
            client.agents().delete_agent(request).await?;
            output.removed(&name)?;
        }
    }
    Ok(Exit::Success)
}

async fn list(tag: String, client: &Client, output: &Output) -> anyhow::Result<()> {
    let mut agents = Vec::new();
    let mut request = ListAgentsRequest {
        tag,
        ..ListAgentsRequest::default()
    };
    loop {
        let page = client
            .agents()
            .list_agents(request.clone())
            .await?
            .into_inner();
        agents.extend(page.agents);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    output.list("agents", &agents, view::list)
}

async fn show(agent: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    // For people the manifest is looked into, too.
    let detail = match output.is_json() {
        true => AgentView::Basic,
        false => AgentView::Full,
    };
    let request = GetAgentRequest {
        name: name("agents", agent),
        view: detail.into(),
    };
    let agent = client.agents().get_agent(request).await?.into_inner();
    let mut generations = Vec::new();
    let mut request = ListGenerationsRequest {
        parent: agent.name.clone(),
        ..ListGenerationsRequest::default()
    };
    loop {
        let page = client
            .agents()
            .list_generations(request.clone())
            .await?
            .into_inner();
        generations.extend(page.generations);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if output.is_json() {
        let generations = generations
            .iter()
            .map(json::value)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let agent = json::value(&agent)?;
        return output.json(&serde_json::json!({ "agent": agent, "generations": generations }));
    }
    output.text(&format!(
        "{}{}\n{}",
        view::full(&agent),
        view::config(&agent),
        view::generations(&generations)
    ))
}

async fn source(agent: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let request = GetAgentRequest {
        name: name("agents", agent),
        view: AgentView::Full.into(),
    };
    let agent = client.agents().get_agent(request).await?.into_inner();
    let lineage = agent.lineage.ok_or_else(|| {
        Misuse("the source of this agent is not known: it was uploaded as a component".to_owned())
    })?;
    output.message(&lineage, |lineage| block(&lineage.source))
}

/// Uploads a component in pieces.
pub(super) async fn deploy(
    file: &Path,
    accept: String,
    request_id: String,
    client: &Client,
) -> anyhow::Result<DeployAgentResponse> {
    let component = tokio::fs::read(file)
        .await
        .with_context(|| format!("failed to read {}", file.display()))?;
    let metadata = DeployAgentRequest {
        payload: Some(Payload::Metadata(DeployAgentMetadata {
            agent: String::new(),
            request_id,
            permissions_digest: accept,
        })),
    };
    let chunks: Vec<DeployAgentRequest> = component
        .chunks(CHUNK)
        .map(|chunk| DeployAgentRequest {
            payload: Some(Payload::Chunk(chunk.to_vec())),
        })
        .collect();
    let messages = tokio_stream::iter(std::iter::once(metadata).chain(chunks));
    Ok(client.agents().deploy_agent(messages).await?.into_inner())
}
