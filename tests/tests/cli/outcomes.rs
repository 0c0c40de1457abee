//! Exit codes: scripts tell the ends of an invocation apart without reading text.

use anyhow::Context as _;
use nexus_proto::v1;
use nexus_tests::{Client, Host, component, guests};
use serde_json::Value;

use crate::{code, fed, stderr, stdout};

/// An agent that does nothing but write outside, which nobody answers here.
pub(crate) const WRITER: &str = r#"
format = 1
name = "writer"
version = "0.1.0"
input = { type = "array" }
[[permission]]
http = { origin = "https://writer.example.com", methods = ["POST"], paths = ["/*"] }
[[permission]]
secret = { name = "writer-key", audience = ["https://writer.example.com"] }
[[permission]]
memory = { space = "writer", access = "read-write" }
[[permission]]
peer = { agent = "callee" }
"#;

pub(crate) const WRITE: &str = r#"[
    {"call": "http.origin.open", "url": "https://writer.example.com", "as": "origin"},
    {"call": "http.origin.request", "on": "origin", "method": "post", "target": "/orders", "as": "request"},
    {"call": "http.request.send", "on": "request", "as": "pending"},
    {"call": "http.pending.wait", "on": "pending"}
]"#;

const FORBIDDEN: &str = r#"[
    {"call": "memory.space.open", "name": "elsewhere", "access": "read"},
    {"call": "fail", "name": "forbidden", "value": "given up"}
]"#;

async fn prepared() -> anyhow::Result<(Host, Client)> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    for guest in ["callee", "hostile"] {
        operator.deploy(&guests::component(guest)).await?;
    }
    let writer = component::with_manifest(&guests::component("probe"), WRITER);
    operator.deploy(&writer).await?;
    Ok((host, operator))
}

/// Starts an invocation and returns its name as soon as it waits for a person.
async fn waiting(operator: &mut Client) -> anyhow::Result<v1::Invocation> {
    let request = v1::InvokeAgentRequest {
        name: "agents/writer".to_owned(),
        input: WRITE.to_owned(),
        ..v1::InvokeAgentRequest::default()
    };
    let waiting = operator
        .invocations
        .invoke_agent(request)
        .await?
        .into_inner();
    anyhow::ensure!(
        !waiting.approvals.is_empty(),
        "{waiting:?} waits for nobody"
    );
    Ok(waiting)
}

/// Returns when the question of an invocation is on disk, and with it the invocation.
async fn recorded(operator: &mut Client, invocation: &str) -> anyhow::Result<()> {
    let request = v1::WatchEventsRequest::default();
    let mut events = operator.audit.watch_events(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        if event.kind == "approval_requested" && event.invocation == invocation {
            return Ok(());
        }
    }
    anyhow::bail!("the trail ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_outcome_has_an_exit_code_of_its_own() -> anyhow::Result<()> {
    let (host, _) = prepared().await?;
    let cases: [(&[&str], i32, &str); 10] = [
        (&["callee", r#"{"do": "greet", "name": "anna"}"#], 0, ""),
        (&["nobody-is-called-so"], 1, "NOT_FOUND"),
        (&["callee", r#"{"do": "dance"}"#], 1, "INPUT_SCHEMA"),
        (&["callee", "{"], 1, "input"),
        (&["callee", "{}", "--no-such-flag"], 2, "--no-such-flag"),
        (
            &["callee", r#"{"do": "fail", "code": "too-late"}"#],
            10,
            "too-late",
        ),
        (&["writer", FORBIDDEN], 11, "no memory permission"),
        (&["hostile", r#"{"do": "memory-one"}"#], 12, "memory"),
        (&["hostile", r#"{"do": "panic"}"#], 13, "as asked"),
        (&["writer", WRITE], 17, "nexus approvals approve apr-"),
    ];
    for (arguments, expected, says) in cases {
        let arguments = [&["invoke"], arguments].concat();
        let ended = host.nexus(&arguments)?;
        assert_eq!(
            code(&ended),
            Some(expected),
            "{arguments:?}: {}",
            stderr(&ended)
        );
        assert!(
            stderr(&ended).contains(says),
            "{arguments:?}: {}",
            stderr(&ended)
        );
        assert_eq!(
            stdout(&ended).is_empty(),
            expected != 0,
            "only an answer is data: {arguments:?}"
        );
    }
    let greeted = fed(
        &host,
        &["invoke", "callee", "-"],
        br#"{"do": "greet", "name": "anna"}"#,
    )?;
    let greeted: Value = serde_json::from_slice(&greeted.stdout)?;
    assert_eq!(greeted["greeting"], "hello, anna");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_or_denied_is_told_to_who_watches() -> anyhow::Result<()> {
    let (host, mut operator) = prepared().await?;
    let invocation = waiting(&mut operator).await?;
    let cancelled = host.nexus(&[
        "invocations",
        "cancel",
        &invocation.name,
        "--reason",
        "enough",
    ])?;
    assert_eq!(code(&cancelled), Some(0), "{}", stderr(&cancelled));
    let watched = host.nexus(&["invocations", "watch", &invocation.name])?;
    assert_eq!(code(&watched), Some(15), "{}", stdout(&watched));
    assert!(stdout(&watched).contains("enough"), "{}", stdout(&watched));

    let invocation = waiting(&mut operator).await?;
    let approval = invocation.approvals.first().context("an approval")?;
    let denied = host.nexus(&["approvals", "deny", approval, "--reason", "not today"])?;
    assert_eq!(code(&denied), Some(0), "{}", stderr(&denied));
    // The agent was told, and went on to answer.
    let watched = host.nexus(&["invocations", "watch", &invocation.name])?;
    assert_eq!(code(&watched), Some(0), "{}", stdout(&watched));
    assert!(
        stdout(&watched).contains("not today"),
        "{}",
        stdout(&watched)
    );
    let again = host.nexus(&["approvals", "approve", approval, "--yes"])?;
    assert_eq!(code(&again), Some(1));
    assert!(
        stderr(&again).contains("ALREADY_DECIDED"),
        "{}",
        stderr(&again)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_of_the_host_ended_is_interrupted() -> anyhow::Result<()> {
    let (host, mut operator) = prepared().await?;
    let invocation = waiting(&mut operator).await?;
    recorded(&mut operator, &invocation.name).await?;
    let host = host.kill_and_restart()?;
    let watched = host.nexus(&["invocations", "watch", &invocation.name])?;
    assert_eq!(
        code(&watched),
        Some(16),
        "{}{}",
        stdout(&watched),
        stderr(&watched)
    );
    Ok(())
}
