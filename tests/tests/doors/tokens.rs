//! Tokens that end: revoked, replaced, expired.

use std::time::Duration;

use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::{Client, Host};
use tonic::{Code, Status};

async fn made(
    operator: &mut Client,
    role: v1::Role,
    ttl: Option<Duration>,
) -> anyhow::Result<(String, String)> {
    let create = v1::CreateTokenRequest {
        principal: "carol".to_owned(),
        role: role.into(),
        ttl: ttl.map(prost_types::Duration::try_from).transpose()?,
        ..v1::CreateTokenRequest::default()
    };
    let made = operator.system.create_token(create).await?.into_inner();
    Ok((made.token.unwrap().name, made.secret))
}

async fn status(client: &mut Client) -> Result<(), Status> {
    let status = client.system.get_status(v1::GetStatusRequest {});
    status.await.map(drop)
}

/// How an open stream ends.
async fn end<T>(stream: &mut tonic::Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("it just ended"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_no_others() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let (name, secret) = made(&mut operator, v1::Role::Approver, None).await?;
    let mut carol = Client::new(host.channel().await?, Some(&secret))?;
    let request = v1::WatchApprovalsRequest::default();
    let mut watch = carol.approvals.watch_approvals(request.clone()).await?;
    let mut agents = carol
        .agents
        .watch_agents(v1::WatchAgentsRequest::default())
        .await?;
    let mut others = operator
        .agents
        .watch_agents(v1::WatchAgentsRequest::default())
        .await?;

    let revoke = v1::RevokeTokenRequest { name, grace: None };
    operator.system.revoke_token(revoke.clone()).await?;
    for ended in [end(watch.get_mut()).await, end(agents.get_mut()).await] {
        assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
        assert_eq!(reason(&ended), "UNAUTHENTICATED");
    }
    let refused = status(&mut carol).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    operator.system.revoke_token(revoke).await?;
    operator.deploy(&super::echo("after", "0.1.0")).await?;
    assert!(others.get_mut().message().await?.is_some());

    // Nothing that was shown to anybody is on the disk.
    let store = std::fs::read(host.data.join("store.redb"))?;
    for secret in [secret.as_bytes(), host.token().as_bytes()] {
        assert!(!store.windows(secret.len()).any(|window| window == secret));
    }
    Ok(())
}

#[tokio::test]
async fn a_token_ends_by_itself_and_its_streams_with_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let ttl = Duration::from_secs(2);
    let (_, secret) = made(&mut operator, v1::Role::Approver, Some(ttl)).await?;
    let mut carol = Client::new(host.channel().await?, Some(&secret))?;
    let request = v1::WatchApprovalsRequest::default();
    let mut watch = carol.approvals.watch_approvals(request).await?;
    let ended = end(watch.get_mut()).await;
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    assert_eq!(
        status(&mut carol).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    Ok(())
}

#[tokio::test]
async fn a_token_is_replaced_with_an_overlap_or_without() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let (name, old) = made(&mut operator, v1::Role::Caller, None).await?;
    let id = name.trim_start_matches("tokens/");
    let rotated = host.nexus(&["tokens", "rotate", id, "--overlap", "1h"])?;
    assert!(rotated.status.success(), "{rotated:?}");
    let new = String::from_utf8(rotated.stdout)?.trim().to_owned();
    assert_ne!(new, old);
    for secret in [&old, &new] {
        status(&mut Client::new(host.channel().await?, Some(secret))?).await?;
    }
    let tokens = operator
        .system
        .list_tokens(v1::ListTokensRequest::default());
    let tokens = tokens.await?.into_inner().tokens;
    let of = |name: &str| tokens.iter().find(|token| token.name == name).unwrap();
    assert!(of(&name).expire_time.is_some() && of(&name).revoke_time.is_none());
    let theirs: Vec<_> = tokens
        .iter()
        .filter(|token| token.principal == "carol")
        .collect();
    assert_eq!(theirs.len(), 2);
    assert!(theirs.iter().all(|token| token.role() == v1::Role::Caller));

    let rotated = host.nexus(&["tokens", "rotate", id])?;
    assert!(rotated.status.success(), "{rotated:?}");
    let mut before = Client::new(host.channel().await?, Some(&old))?;
    assert_eq!(
        status(&mut before).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_operator_stays_whoever_revokes_at_once() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    made(&mut operator, v1::Role::Operator, None).await?;
    let tokens = operator
        .system
        .list_tokens(v1::ListTokensRequest::default());
    let tokens = tokens.await?.into_inner().tokens;
    assert_eq!(tokens.len(), 2);
    // Each revokes the other at the same moment, and one with a grace, which is no way around.
    let revoke = |name: &str, grace: Option<i64>| {
        let request = v1::RevokeTokenRequest {
            name: name.to_owned(),
            grace: grace.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        };
        let mut operator = operator.clone();
        async move { operator.system.revoke_token(request).await }
    };
    let (first, second) = tokio::join!(
        revoke(&tokens[0].name, None),
        revoke(&tokens[1].name, Some(60))
    );
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        other => anyhow::bail!("{other:?}"),
    };
    assert!(
        ["LAST_OPERATOR", "UNAUTHENTICATED"].contains(&reason(&refused).as_str()),
        "{refused}"
    );
    Ok(())
}
