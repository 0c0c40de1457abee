//! What one principal, or nobody in particular, can take up of the host.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{join_all, select_all};
use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::raw::Raw;
use nexus_tests::{Host, guests};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

#[tokio::test]
async fn one_principal_takes_its_share_of_the_streams_and_leaves_the_rest() -> anyhow::Result<()> {
    let config = "[server]\nconcurrent_streams = 4\nstreams_per_principal = 2\n";
    let host = Host::builder().config(config).start()?;
    let mut bob = host.client("bob", v1::Role::Caller).await?;
    let mut carol = host.client("carol", v1::Role::Caller).await?;
    let all = v1::WatchAgentsRequest::default;
    let first = bob.agents.watch_agents(all()).await?;
    // Two tokens are one principal.
    let mut also_bob = host.client("bob", v1::Role::Caller).await?;
    let _second = also_bob.agents.watch_agents(all()).await?;
    let refused = bob.agents.watch_agents(all()).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(reason(&refused), "SHARE_USED_UP");
    assert!(refused.get_details_retry_info().is_some());
    // Calls are counted apart, and others have their own share.
    bob.system.get_status(v1::GetStatusRequest {}).await?;
    let watching = carol.agents.watch_agents(all()).await?;
    drop((first, watching));
    Ok(())
}

/// Calls a method with a message that never ends.
async fn silent(channel: Channel, token: Option<&str>, path: &'static str) -> tonic::Status {
    let mut request = Request::new(futures::stream::pending::<Bytes>());
    if let Some(token) = token.and_then(|token| format!("Bearer {token}").parse().ok()) {
        request.metadata_mut().insert("authorization", token);
    }
    let mut grpc = tonic::client::Grpc::new(channel);
    if let Err(error) = grpc.ready().await {
        return tonic::Status::from_error(error.into());
    }
    let path = PathAndQuery::from_static(path);
    let answer = grpc.streaming(request, path, Raw).await;
    match answer {
        Err(status) => status,
        Ok(answer) => match answer.into_inner().next().await {
            Some(Err(status)) => status,
            other => panic!("an answer to nothing: {other:?}"),
        },
    }
}

#[tokio::test]
async fn a_call_whose_message_does_not_arrive_gives_its_place_back() -> anyhow::Result<()> {
    let config = "[server]\nconcurrent_calls = 2\nmessage_seconds = 1\n";
    let host = Host::builder().config(config).start()?;
    let mut client = host.operator().await?;
    let path = "/nexus.v1.SystemService/GetStatus";
    let channel = host.channel().await?;
    let silent = || silent(channel.clone(), Some(host.token()), path);
    let ended = join_all([silent(), silent()]).await;
    for status in ended {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert_eq!(reason(&status), "BODY_TOO_SLOW");
    }
    client.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test]
async fn whoever_uploads_without_end_keeps_nobody_else_from_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let path = "/nexus.v1.AgentService/DeployAgent";
    let channel = host.channel().await?;
    let silent = || silent(channel.clone(), Some(host.token()), path);
    // More than there are places; they end when a component has to have arrived.
    let uploads = select_all((0..12).map(|_| Box::pin(silent())));
    let mut carol = host.client("carol", v1::Role::Operator).await?;
    let echo = guests::component("echo");
    tokio::select! {
        ended = uploads => panic!("an upload without end has ended: {:?}", ended.0),
        deployed = carol.deploy(&echo) => deployed.map(drop),
    }
}

#[tokio::test]
async fn who_has_no_token_takes_no_stream_from_those_who_have() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[server]\nconcurrent_streams = 2\n")
        .start()?;
    let channel = host.channel().await?;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let streams = (0..65).map(|_| Box::pin(silent(channel.clone(), None, path)));
    let (refused, _, waiting) = select_all(streams).await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(reason(&refused), "OVERLOADED");
    let mut operator = host.operator().await?;
    let watching = operator
        .agents
        .watch_agents(v1::WatchAgentsRequest::default());
    let watching = tokio::time::timeout(Duration::from_secs(60), watching).await??;
    drop((watching, waiting));
    Ok(())
}
