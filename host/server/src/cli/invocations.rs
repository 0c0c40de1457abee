//! `nexus invocations`.

use nexus_proto::v1::{
    CancelInvocationRequest, GetInvocationRequest, ListInvocationsRequest, WatchInvocationRequest,
    WatchInvocationsRequest, invocation_event::Event,
};

use super::{
    args::Invocations, connection::Client, exit::Exit, output::Output, text::name,
    view::invocation as view,
};

pub(crate) async fn run(
    command: Invocations,
    client: &Client,
    output: &Output,
) -> anyhow::Result<Exit> {
    match command {
        Invocations::List { agent, limit } => list(&agent, limit, client, output).await?,
        Invocations::Show { id } => {
            let request = GetInvocationRequest {
                name: name("invocations", &id),
            };
            let invocation = client
                .invocations()
                .get_invocation(request)
                .await?
                .into_inner();
            output.message(&invocation, view::full)?;
        }
        Invocations::Watch { id: Some(id), .. } => return watch(&id, client, output).await,
        Invocations::Watch { id: None, agent } => {
            let request = WatchInvocationsRequest {
                agent: super::filter("agents", &agent),
            };
            let events = client.invocations().watch_invocations(request).await?;
            let mut events = events.into_inner();
            while let Some(event) = events.message().await? {
                output.next(&event, view::event_of)?;
            }
        }
        Invocations::Cancel { id, reason } => {
            let request = CancelInvocationRequest {
                name: name("invocations", &id),
                reason,
            };
            let invocation = client
                .invocations()
                .cancel_invocation(request)
                .await?
                .into_inner();
            output.message(&invocation, view::full)?;
        }
    }
    Ok(Exit::Success)
}

async fn list(agent: &str, limit: usize, client: &Client, output: &Output) -> anyhow::Result<()> {
    let mut invocations = Vec::new();
    let mut request = ListInvocationsRequest {
        agent: super::filter("agents", agent),
        ..ListInvocationsRequest::default()
    };
    while invocations.len() < limit {
        request.page_size = super::page_size(limit - invocations.len());
        let page = client
            .invocations()
            .list_invocations(request.clone())
            .await?
            .into_inner();
        invocations.extend(page.invocations);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    invocations.truncate(limit);
    output.list("invocations", &invocations, view::list)
}

/// Follows an invocation; the exit code is that of its outcome.
async fn watch(id: &str, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    let request = WatchInvocationRequest {
        name: name("invocations", id),
    };
    let mut events = client
        .invocations()
        .watch_invocation(request)
        .await?
        .into_inner();
    let mut exit = Exit::Error;
    while let Some(event) = events.message().await? {
        output.next(&event, view::event)?;
        if let Some(Event::State(invocation)) = &event.event {
            exit = Exit::from(invocation);
        }
    }
    Ok(exit)
}
