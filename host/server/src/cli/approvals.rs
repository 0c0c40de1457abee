//! `nexus approvals`.

use std::time::Duration;

use anyhow::Context as _;
use nexus_proto::v1::{
    ActionKind, AgentEvent, Approval, DecideApprovalRequest, GetApprovalRequest,
    ListApprovalsRequest, Remember, Verdict, WatchAgentsRequest, WatchApprovalsRequest,
    approval::State,
};
use tonic::Streaming;

use super::{
    args::{Approvals, Reach},
    connection::Client,
    exit::Exit,
    failure::Misuse,
    output::Output,
    prompt,
    text::{block, id as agent_id, line, name},
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
        Approvals::Show { id, source } => {
            let approval = get(&id, client).await?;
            if source {
                let lineage = approval.lineage.ok_or_else(no_source)?;
                output.message(&lineage, |lineage| block(&lineage.source))?;
            } else {
                output.message(&approval, view::full)?;
            }
        }
        Approvals::Approve {
            id,
            yes,
            reason,
            edit,
            reach,
        } => {
            return approve(&id, yes, reason, edit, &reach, client, output).await;
        }
        Approvals::Deny { id, reason, reach } => {
            let approval = get(&id, client).await?;
            let request = decision(&approval, Verdict::Deny, reason, &reach)?;
            let decided = decide(request, client).await?;
            output.message(&decided, view::next)?;
            told(&decided, output);
        }
    }
    Ok(Exit::Success)
}

/// What a decision leaves to know: the grant that came with it, and whether it is enough.
fn told(decided: &Approval, output: &Output) {
    if let Some(grant) = decided.decisions.last().filter(|it| !it.grant.is_empty()) {
        let id = line(agent_id(&grant.grant));
        output.note(&format!(
            "remembered as {id}; `nexus grants revoke {id}` takes it back"
        ));
    }
    let said = decided.decisions.len();
    if is_open(decided) && said > 0 {
        output.note(&format!(
            "{said} of {} people have approved; somebody else has to",
            decided.required_approvals
        ));
    }
}

async fn list(
    agent: &str,
    all: bool,
    limit: usize,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut approvals = Vec::new();
    // What is over is by far the most, and stays where it is unless it is asked for.
    let states: &[State] = match all {
        true => &[State::Unspecified],
        false => &[State::Pending, State::Queued],
    };
    for state in states {
        let mut request = ListApprovalsRequest {
            agent: super::filter("agents", agent),
            state: (*state).into(),
            ..ListApprovalsRequest::default()
        };
        while approvals.len() < limit {
            request.page_size = super::page_size(limit - approvals.len());
            let page = client
                .approvals()
                .list_approvals(request.clone())
                .await?
                .into_inner();
            approvals.extend(page.approvals);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
    }
    approvals.truncate(limit);
    output.list("approvals", &approvals, view::list)
}

fn no_source() -> Misuse {
    Misuse(
        "there is no source to show: only what this host has forged has one, where its publication is asked for"
            .to_owned(),
    )
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
    edit: Option<String>,
    reach: &Reach,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Exit> {
    if !yes {
        prompt::require("approving needs a person's yes", "--yes")?;
    }
    let approval = get(id, client).await?;
    output.note(&view::full(&approval));
    let mut request = decision(&approval, Verdict::Approve, reason, reach)?;
    if let Some(file) = &edit {
        let edit = super::edit::read(file, &approval)?;
        output.note(&super::edit::shown(&edit));
        request.edit = Some(edit);
    }
    // What is decided already is not asked again; the host says whether a repeat is the same.
    if !yes
        && is_open(&approval)
        && !prompt::confirm(question(&approval, edit.is_some(), reach)).await?
    {
        output.note("nothing was decided; `nexus approvals deny ID --reason ...` says no");
        return Ok(Exit::Error);
    }
    // Watched from before the decision, so that the publication cannot be missed.
    let changes = match approval.kind() {
        ActionKind::Publish if is_open(&approval) => Some(Changes::of(&approval, client).await?),
        _ => None,
    };
    let decided = decide(request, client).await?;
    let edited = decided.decisions.iter().find(|it| !it.edited_as.is_empty());
    if let (Some(edited), true) = (edited, edit.is_some()) {
        // What will happen is the other one.
        let instead = get(agent_id(&edited.edited_as), client).await?;
        output.note(&view::full(&instead));
        output.message(&instead, view::next)?;
        return Ok(Exit::Success);
    }
    output.message(&decided, view::next)?;
    told(&decided, output);
    if let Some(changes) = changes
        && !is_open(&decided)
    {
        // The decision stands whatever the watch says.
        let end = tokio::time::timeout(PUBLICATION, changes.end(&approval)).await;
        let agent = line(agent_id(&approval.agent));
        let (exit, told) = match end {
            Ok(Some(Published::Live(generation))) => (
                Exit::Success,
                format!("{agent} is live, generation {generation}"),
            ),
            Ok(Some(Published::Not)) => (
                Exit::Error,
                format!(
                    "{agent} is not published: it has changed since this was put to you, or its forge \
                     has ended; deploy or forge it again, and look at it as it is then"
                ),
            ),
            _ => (
                Exit::Success,
                format!("`nexus agents show {agent}` tells whether it is live"),
            ),
        };
        output.note(&told);
        return Ok(exit);
    }
    Ok(Exit::Success)
}

/// What becomes of a publication that is approved.
enum Published {
    /// The generation under which it went live.
    Live(u64),
    /// The approval came to nothing.
    Not,
}

/// What happens to an agent and to the questions about it.
struct Changes {
    agents: Streaming<AgentEvent>,
    approvals: Streaming<Approval>,
}

impl Changes {
    async fn of(approval: &Approval, client: &Client) -> anyhow::Result<Self> {
        let agents = WatchAgentsRequest {
            agent: approval.agent.clone(),
        };
        let approvals = WatchApprovalsRequest {
            agent: approval.agent.clone(),
        };
        Ok(Self {
            agents: client.agents().watch_agents(agents).await?.into_inner(),
            approvals: client
                .approvals()
                .watch_approvals(approvals)
                .await?
                .into_inner(),
        })
    }

    /// How it ended, unless the host stops telling before.
    async fn end(mut self, approved: &Approval) -> Option<Published> {
        loop {
            tokio::select! {
                change = self.agents.message() => {
                    if let Some(agent) = change.ok()??.agent
                        && agent.component_digest == approved.component_digest
                    {
                        return Some(Published::Live(agent.generation));
                    }
                }
                change = self.approvals.message() => {
                    let change = change.ok()??;
                    // What was approved and is withdrawn was not done.
                    if change.name == approved.name && change.state() == State::Cancelled {
                        return Some(Published::Not);
                    }
                }
            }
        }
    }
}

fn is_open(approval: &Approval) -> bool {
    matches!(approval.state(), State::Pending | State::Queued)
}

/// What a person is asked to confirm.
fn question(approval: &Approval, edited: bool, reach: &Reach) -> String {
    let mut question = match edited {
        true => "Approve it as edited, once?".to_owned(),
        false => "Approve exactly this, once?".to_owned(),
    };
    let suggestion = reach
        .remember
        .and_then(|number| approval.suggestions.get((number as usize).checked_sub(1)?));
    if let Some(suggestion) = suggestion {
        question = format!(
            "Approve this, and later without asking, {}: {}?",
            bounds(reach),
            line(&suggestion.summary)
        );
    }
    if reach.identical && approval.identical_requests > 0 {
        question = format!(
            "{} identical requests are approved with it. {question}",
            approval.identical_requests
        );
    }
    question
}

/// How far a remembered yes goes.
fn bounds(reach: &Reach) -> String {
    let time = match reach.lifetime.map(|time| time.as_secs()) {
        None => "a week".to_owned(),
        Some(time) if time.is_multiple_of(86_400) => format!("{} days", time / 86_400),
        Some(time) if time.is_multiple_of(3_600) => format!("{} hours", time / 3_600),
        Some(time) => format!("{time} seconds"),
    };
    let versions = match reach.any_version {
        true => ", later versions of the agent included",
        false => "",
    };
    format!(
        "{} times within {time}{versions}",
        reach.uses.unwrap_or(100)
    )
}

fn decision(
    approval: &Approval,
    verdict: Verdict,
    reason: String,
    reach: &Reach,
) -> anyhow::Result<DecideApprovalRequest> {
    let remember = match reach.remember {
        None => None,
        Some(suggestion) => Some(Remember {
            suggestion,
            any_component: reach.any_version,
            ttl: reach
                .lifetime
                .map(TryInto::try_into)
                .transpose()
                .context("failed to use the time")?,
            uses: reach.uses.unwrap_or_default(),
        }),
    };
    Ok(DecideApprovalRequest {
        name: approval.name.clone(),
        verdict: verdict.into(),
        reason,
        digest: approval.digest.clone(),
        remember,
        identical_requests: match reach.identical {
            true => approval.identical_requests,
            false => 0,
        },
        ..DecideApprovalRequest::default()
    })
}

async fn decide(request: DecideApprovalRequest, client: &Client) -> anyhow::Result<Approval> {
    Ok(client
        .approvals()
        .decide_approval(request)
        .await?
        .into_inner())
}
