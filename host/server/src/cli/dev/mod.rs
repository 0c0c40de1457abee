//! `nexus dev`: every save becomes the live generation, and what the agent says is told beside it.

mod build;
mod log;
mod saves;

use std::time::Instant;

use anyhow::Context as _;
use nexus_proto::v1::{
    AcceptAgentRequest, DecideApprovalRequest, DeployAgentResponse, RootOrigin,
    StartInvocationRequest, Verdict, deploy_agent_response::State,
};
use serde_json::json;

use self::{
    build::{Build, Project},
    log::Log,
    saves::Saves,
};
use super::{
    agents,
    args::Dev,
    connection::Client,
    exit::Exit,
    failure, json,
    output::Output,
    prompt,
    text::{id, line},
    view::agent as view,
};

/// Runs until it is interrupted. What does not compile or is refused is told, and the next save is
/// waited for; the generation before goes on meanwhile.
pub(crate) async fn run(dev: Dev, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    let project = Project::open(&dev.directory)?;
    let mut saves = Saves::of(project.directory())?;
    let mut log = Log::new(client.clone(), *output);
    let rounds = async {
        loop {
            if let Err(error) = round(&project, &dev, &mut log, client, output).await {
                if output.is_json() {
                    output.json_line(&json!({ "error": failure::describe(&error) }))?;
                }
                failure::report(&error);
            }
            output.note(&format!(
                "waiting for a save in {}; Ctrl-C ends this, and the agent stays",
                project.directory().display()
            ));
            saves.next().await?;
        }
    };
    tokio::select! {
        ended = rounds => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("failed to wait for Ctrl-C")?;
            Ok(Exit::Success)
        }
    }
}

/// One save: built, deployed, and called if there is something to call it with.
async fn round(
    project: &Project,
    dev: &Dev,
    log: &mut Log,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let built = project.build().await?;
    let took = began.elapsed();
    if output.is_json() {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let succeeded = matches!(built, Build::Component(_));
        output.json_line(&json!({
            "build": { "succeeded": succeeded, "milliseconds": milliseconds }
        }))?;
    }
    let Build::Component(component) = built else {
        output.note("the project does not build; what was live stays live");
        return Ok(());
    };
    let began = Instant::now();
    let response = agents::deploy(&component, dev.accept.clone(), String::new(), client).await?;
    let deploying = began.elapsed();
    if output.is_json() {
        output.json_line(&json!({ "deployed": json::value(&response)? }))?;
    }
    let agent = match response.state() {
        State::Review => match review(&response, client, output).await? {
            Some(agent) => agent,
            None => return Ok(()),
        },
        _ => response.agent.unwrap_or_default(),
    };
    output.note(&format!(
        "{} generation {} is live: built in {} ms, deployed in {} ms",
        line(id(&agent.name)),
        agent.generation,
        took.as_millis(),
        deploying.as_millis(),
    ));
    log.follow(&agent.name).await?;
    if let Some(input) = &dev.input {
        let request = StartInvocationRequest {
            name: agent.name.clone(),
            input: input.clone(),
            root_origin: RootOrigin::Interactive.into(),
            ..StartInvocationRequest::default()
        };
        client.invocations().start_invocation(request).await?;
    }
    Ok(())
}

/// Shows what the component may do, and asks on the spot if somebody is there.
async fn review(
    response: &DeployAgentResponse,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Option<nexus_proto::v1::Agent>> {
    output.note(view::deployed(response).trim_end());
    if output.is_json() || !prompt::is_attended() {
        return Ok(None);
    }
    let yes = prompt::confirm("accept these permissions?".to_owned()).await?;
    if !yes {
        // Nobody is to come across the question later, when it is about an old save.
        let deny = DecideApprovalRequest {
            name: response.approval.clone(),
            verdict: Verdict::Deny.into(),
            reason: "not accepted in nexus dev".to_owned(),
            ..DecideApprovalRequest::default()
        };
        client.approvals().decide_approval(deny).await?;
        output.note("not accepted; what was live stays live");
        return Ok(None);
    }
    let request = AcceptAgentRequest {
        name: response
            .agent
            .as_ref()
            .map(|agent| agent.name.clone())
            .unwrap_or_default(),
        permissions_digest: response.permissions_digest.clone(),
    };
    let accepted = client.agents().accept_agent(request).await?;
    Ok(Some(accepted.into_inner()))
}
