//! Where a guest would go to do harm: T19 and T21. The tables of addresses, names and redirects are in
//! `host/effects/tests`, with a resolver that says what a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nexus_proto::v1::approval_service_client::ApprovalServiceClient;
use nexus_proto::v1::{DecideApprovalRequest, GetStatusRequest, ListApprovalsRequest};
use nexus_tests::{Host, probe};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::Code;

/// A host on a loopback address of its own, so that its port can be told before it starts.
fn own_address() -> SocketAddr {
    let [.., b, c, d] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 1 + (b & 0x3f), c, d.max(1)), 7420).into()
}

/// A configuration with a policy that permits everything: nothing but egress is in the way.
fn permissive(directory: &std::path::Path, rest: &str) -> anyhow::Result<String> {
    let policy = directory.join("all.cedar");
    std::fs::write(
        &policy,
        "@id(\"all\") permit (principal, action, resource);",
    )?;
    Ok(format!("[approvals]\npolicy = {policy:?}\n{rest}"))
}

#[tokio::test]
async fn t21_a_guest_reaches_no_port_of_the_host_whoever_allows_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let own = own_address();
    let mut hosts = vec![
        own.ip().to_string(),
        "127.0.0.1".to_owned(),
        "[::1]".to_owned(),
        "0.0.0.0".to_owned(),
        "[::]".to_owned(),
        format!("[::ffff:{}]", own.ip()),
        "localhost".to_owned(),
    ];
    // The address that the machine has in its network, if it is in one.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    if socket.connect("198.51.100.1:9").is_ok() {
        hosts.push(socket.local_addr()?.ip().to_string());
    }
    let origins: Vec<String> = hosts
        .iter()
        .map(|host| format!("http://{host}:{}", own.port()))
        .collect();
    let config = permissive(
        directory.path(),
        &format!("[server]\nlisten = \"{own}\"\n[egress]\nprivate_origins = {origins:?}\n"),
    )?;
    let host = Host::builder().config(&config).start()?;
    assert_eq!(
        host.endpoint,
        format!("http://{own}"),
        "it is where the guest will look"
    );
    let mut client = host.operator().await?;
    let permissions: Vec<String> = origins.iter().map(|origin| probe::http(origin)).collect();
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("intruder", &permissions))
        .await?;
    for origin in &origins {
        for (method, target) in [
            ("get", "/"),
            ("post", "/nexus.v1.ApprovalService/DecideApproval"),
        ] {
            let steps = probe::exchange(origin, method, target, &[]);
            // A name has to be resolved before it can be refused; an address is refused when it is opened.
            let results = if origin.contains("localhost") {
                client.output("intruder", &Value::from(steps)).await?
            } else {
                client
                    .output("intruder", &Value::from(vec![steps[0].clone()]))
                    .await?
            };
            let last = results
                .as_array()
                .and_then(|results| results.last())
                .cloned()
                .unwrap_or_default();
            assert_eq!(last["error"], "forbidden", "{method} {origin}: {results}");
            let text = last["text"].as_str().unwrap_or_default();
            assert!(
                text.contains("this host's own listener"),
                "{method} {origin}: {results}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn t21_a_call_over_loopback_without_a_token_is_unauthenticated() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut anonymous = host.anonymous().await?;
    let refused = anonymous.system.get_status(GetStatusRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let mut approvals = ApprovalServiceClient::new(host.channel().await?);
    let refused = approvals
        .list_approvals(ListApprovalsRequest::default())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let refused = approvals
        .decide_approval(DecideApprovalRequest::default())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn t19_what_a_manifest_names_and_the_operator_does_not_is_out_of_reach() -> anyhow::Result<()>
{
    // A trap on both loopback addresses.
    let v4 = TcpListener::bind("127.0.0.1:0").await?;
    let port = v4.local_addr()?.port();
    let caught = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&caught);
    tokio::spawn(async move {
        while v4.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let origins: Vec<String> = [
        "127.0.0.1",
        "127.0.0.2",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
    ]
    .map(|host| format!("http://{host}:{port}"))
    .to_vec();
    let directory = tempfile::tempdir()?;
    let host = Host::builder()
        .config(&permissive(directory.path(), "")?)
        .start()?;
    let mut client = host.operator().await?;
    let permissions: Vec<String> = origins.iter().map(|origin| probe::http(origin)).collect();
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("explorer", &permissions))
        .await?;
    for origin in &origins {
        let steps = probe::exchange(origin, "get", "/", &[]);
        let steps = if origin.contains("localhost") {
            steps
        } else {
            vec![steps[0].clone()]
        };
        let results = client.output("explorer", &Value::from(steps)).await?;
        let last = results
            .as_array()
            .and_then(|results| results.last())
            .cloned()
            .unwrap_or_default();
        assert_eq!(last["error"], "forbidden", "{origin}: {results}");
    }
    // Another port than the manifest's, and what is no origin to the host.
    for (url, error) in [
        (format!("http://localhost:{}", port ^ 1), "forbidden"),
        (format!("https://localhost:{port}"), "forbidden"),
        (format!("http://2130706433:{port}"), "invalid"),
        (format!("http://127.1:{port}"), "invalid"),
        (format!("http://localhost.:{port}"), "invalid"),
        (format!("http://a@localhost:{port}"), "invalid"),
        (format!("http://[fe80::1%25lo]:{port}"), "invalid"),
    ] {
        let step = serde_json::json!([{ "call": "http.origin.open", "url": url, "as": "o" }]);
        let results = client.output("explorer", &step).await?;
        assert_eq!(results[0]["error"], error, "{url}: {results}");
    }
    assert_eq!(caught.load(Ordering::SeqCst), 0, "a connection was opened");
    Ok(())
}
