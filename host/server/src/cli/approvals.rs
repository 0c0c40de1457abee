//! `nexus approvals`.

use std::time::Duration;

use nexus_proto::v1::{
    ActionKind, AgentEvent, Approval, DecideApprovalRequest, GetApprovalRequest,
    ListApprovalsRequest, Verdict, WatchAgentsRequest, WatchApprovalsRequest, approval::State,
};
use tonic::Streaming;

use super::{
    args::Approvals,
    connection::Client,
    exit::Exit,
    output::Output,
    prompt,
    text::{id as agent_id, line, name},
    view::approval as view,
};

/// How long to wait for an agent to go live after its publication was approved.
const PUBLICATION: Duration = Duration::from_secs(30);

pub(crate) async fn run(
    command: Approvals,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Exit> {
    match command {
        Approvals::List { agent, all, limit } => list(&agent, all, limit, client, output).await?,
        Approvals::Watch { agent } => {
            let request = WatchApprovalsRequest {
                agent: super::filter("agents", &agent),
            };
            let mut approvals = client
                .approvals()
                .watch_approvals(request)
                .await?
                .into_inner();
            while let Some(approval) = approvals.message().await? {
                output.next(&approval, view::next)?;
            }
        }
        Approvals::Show { id } => {
            let approval = get(&id, client).await?;
            output.message(&approval, view::full)?;
        }
        Approvals::Approve { id, yes, reason } => {
            return approve(&id, yes, reason, client, output).await;
        }
        Approvals::Deny { id, reason } => {
            let approval = get(&id, client).await?;
            let decided = decide(&approval, Verdict::Deny, reason, client).await?;
            output.message(&decided, view::next)?;
        }
    }
    Ok(Exit::Success)
}

async fn list(
    agent: &str,
    all: bool,
    limit: usize,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut approvals = Vec::new();
    let mut request = ListApprovalsRequest {
        agent: super::filter("agents", agent),
        ..ListApprovalsRequest::default()
    };
    while approvals.len() < limit {
        request.page_size = super::page_size(limit);
        let page = client
            .approvals()
            .list_approvals(request.clone())
            .await?
            .into_inner();
        approvals.extend(
            page.approvals
                .into_iter()
                .filter(|approval| all || is_open(approval)),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    approvals.truncate(limit);
    output.list("approvals", &approvals, view::list)
}

async fn get(id: &str, client: &Client) -> anyhow::Result<Approval> {
    let request = GetApprovalRequest {
        name: name("approvals", id),
    };
    Ok(client.approvals().get_approval(request).await?.into_inner())
}

/// Shows everything first; the decision then names the digest of what was shown.
async fn approve(
    id: &str,
    yes: bool,
    reason: String,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Exit> {
    if !yes {
        prompt::require("approving needs a person's yes", "--yes")?;
    }
    let approval = get(id, client).await?;
    output.note(&view::full(&approval));
    // What is decided already is not asked again; the host says whether a repeat is the same.
    if !yes
        && is_open(&approval)
        && !prompt::confirm("Approve exactly this, once?".to_owned()).await?
    {
        output.note("nothing was decided; `nexus approvals deny ID --reason ...` says no");
        return Ok(Exit::Error);
    }
    // Watched from before the decision, so that the publication cannot be missed.
    let changes = match approval.kind() {
        ActionKind::Publish if is_open(&approval) => Some(changes(&approval, client).await?),
        _ => None,
    };
    let decided = decide(&approval, Verdict::Approve, reason, client).await?;
    output.message(&decided, view::next)?;
    if let Some(changes) = changes
        && !is_open(&decided)
    {
        // The decision stands whatever the watch says.
        let live = tokio::time::timeout(PUBLICATION, published(changes, &approval)).await;
        let agent = line(agent_id(&approval.agent));
        output.note(&match live {
            Ok(Some(generation)) => format!("{agent} is live, generation {generation}"),
            _ => format!("`nexus agents show {agent}` tells whether it is live"),
        });
    }
    Ok(Exit::Success)
}

async fn changes(approval: &Approval, client: &Client) -> anyhow::Result<Streaming<AgentEvent>> {
    let request = WatchAgentsRequest {
        agent: approval.agent.clone(),
    };
    Ok(client.agents().watch_agents(request).await?.into_inner())
}

/// The generation under which the approved component went live.
async fn published(mut changes: Streaming<AgentEvent>, approval: &Approval) -> Option<u64> {
    while let Ok(Some(change)) = changes.message().await {
        if let Some(agent) = change.agent
            && agent.component_digest == approval.component_digest
        {
            return Some(agent.generation);
        }
    }
    None
}

fn is_open(approval: &Approval) -> bool {
    matches!(approval.state(), State::Pending | State::Queued)
}

async fn decide(
    approval: &Approval,
    verdict: Verdict,
    reason: String,
    client: &Client,
) -> anyhow::Result<Approval> {
    let request = DecideApprovalRequest {
        name: approval.name.clone(),
        verdict: verdict.into(),
        reason,
        digest: approval.digest.clone(),
        request_id: String::new(),
    };
    Ok(client
        .approvals()
        .decide_approval(request)
        .await?
        .into_inner())
}
