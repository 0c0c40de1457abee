//! How much at once and how often: what is too much is refused, and told when to come again.

use futures::future::join_all;
use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

#[tokio::test]
async fn one_principal_calls_so_often_and_others_are_not_held_up() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[server]\ncalls_per_second = 20\n")
        .start()?;
    let mut bob = host.client("bob", v1::Role::Caller).await?;
    // Two tokens are one principal.
    let mut also_bob = host.client("bob", v1::Role::Caller).await?;
    let mut carol = host.client("carol", v1::Role::Caller).await?;
    let mut refused = Vec::new();
    for number in 0..400 {
        let client = if number % 2 == 0 {
            &mut bob
        } else {
            &mut also_bob
        };
        if let Err(status) = client.system.get_status(v1::GetStatusRequest {}).await {
            refused.push(status);
            break;
        }
    }
    let status = refused.first().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(reason(status), "RATE_LIMITED");
    let wait = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!(!wait.is_zero() && wait.as_secs() < 1, "{wait:?}");
    carol.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test]
async fn a_full_house_refuses_calls_and_still_answers_probes_and_the_lock() -> anyhow::Result<()> {
    let config = "[server]\nconcurrent_calls = 2\nconcurrent_streams = 1\n\
                  [egress]\nprivate_origins = [\"http://127.0.0.1:9\"]\n";
    let host = Host::builder().config(config).start()?;
    let mut client = host.operator().await?;
    let permission = probe::http("http://127.0.0.1:9");
    client
        .deploy(&probe::component("writer", &[&permission]))
        .await?;
    let mut approvals = client.watch_approvals().await?;
    let full = client
        .agents
        .watch_agents(v1::WatchAgentsRequest::default());
    let full = full.await.err().unwrap();
    assert_eq!(full.code(), Code::Unavailable, "{full}");
    assert_eq!(reason(&full), "OVERLOADED");
    assert!(full.get_details_retry_info().is_some());

    // Two calls that wait for a person take the whole room.
    // Not the same twice: identical questions are shown as one.
    let write = |n| {
        Value::from(probe::post(
            "http://127.0.0.1:9",
            "/orders",
            &json!({ "n": n }),
        ))
    };
    let wait = |mut client: Client, write: Value| async move {
        let request = v1::InvokeAgentRequest {
            name: "agents/writer".to_owned(),
            input: write.to_string(),
            wait_for_decision: true,
            ..v1::InvokeAgentRequest::default()
        };
        client.invocations.invoke_agent(request).await
    };
    let waiting = tokio::spawn(join_all([
        wait(client.clone(), write(1)),
        wait(client.clone(), write(2)),
    ]));
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(approvals.asked("writer").await?);
    }
    let refused = client.system.get_status(v1::GetStatusRequest {}).await;
    let refused = refused.err().unwrap();
    assert_eq!(reason(&refused), "OVERLOADED", "{refused}");

    // What one needs then is there, and ends what waits: the room is free again.
    let lock = v1::EngageLockRequest::default();
    client.system.engage_lock(lock).await?;
    for ended in waiting.await? {
        assert!(ended.is_ok(), "{ended:?}");
    }
    client.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test]
async fn whoever_fails_too_often_is_told_to_wait_and_nobody_else_is() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut stranger = Client::new(host.channel().await?, Some("nexus_guess"))?;
    let mut reasons = Vec::new();
    for _ in 0..2_000 {
        let status = stranger.system.get_status(v1::GetStatusRequest {}).await;
        let status = status.unwrap_err();
        if reasons.last() != Some(&reason(&status)) {
            reasons.push(reason(&status));
        }
        if status.code() == Code::ResourceExhausted {
            assert!(status.get_details_retry_info().is_some());
            break;
        }
    }
    assert_eq!(reasons, ["UNAUTHENTICATED", "TOO_MANY_FAILURES"]);
    // From the same address, with a token.
    let mut operator = host.operator().await?;
    operator.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_served() -> anyhow::Result<()> {
    use tokio::io::AsyncReadExt as _;
    let host = Host::builder()
        .config("[server]\nconnections = 4\n")
        .start()?;
    let mut client = host.operator().await?;
    client.system.get_status(v1::GetStatusRequest {}).await?;
    let address = host.endpoint.strip_prefix("http://").unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(tokio::net::TcpStream::connect(address).await?);
    }
    let mut beyond = tokio::net::TcpStream::connect(address).await?;
    let mut heard = Vec::new();
    // Closed, by an end or a reset, without a word.
    let _ = beyond.read_to_end(&mut heard).await;
    assert!(heard.is_empty(), "{heard:?}");
    client.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}
