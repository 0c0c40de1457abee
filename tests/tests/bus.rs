//! Agents that call agents: with their own rights, on behalf of one person, in chains that end.

use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use http::StatusCode;
use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_proto::v1::invocation::{Outcome, State as Life};
use nexus_tests::host::binary;
use nexus_tests::origin::{self, Origin};
use nexus_tests::{Client, Host, guests, probe};
use serde_json::{Value, json};

/// A host with `caller` and `callee`.
async fn pair() -> anyhow::Result<(Host, Client)> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("callee")).await?;
    client.deploy(&guests::component("caller")).await?;
    Ok((host, client))
}

/// The guest `callee` under another name and with other tags, which calls peers of a tag.
fn callee(name: &str, tags: &str, calls: &str) -> Vec<u8> {
    let manifest = include_str!("../agents/callee/agent.toml")
        .replace("name = \"callee\"", &format!("name = \"{name}\""))
        .replace(r#"["test", "greeter"]"#, tags)
        .replace(r#"{ agent = "caller" }"#, calls);
    guests::with_manifest("callee", &manifest)
}

fn greet() -> Value {
    json!({ "do": "greet", "name": "anna" })
}

fn through(verb: &str, peer: &str, input: Value) -> Value {
    json!({ "do": verb, "peer": peer, "input": input })
}

async fn invocations_of(client: &mut Client, agent: &str) -> anyhow::Result<Vec<v1::Invocation>> {
    let list = v1::ListInvocationsRequest {
        agent: format!("agents/{agent}"),
        ..v1::ListInvocationsRequest::default()
    };
    let listed = client.invocations.list_invocations(list).await?;
    Ok(listed.into_inner().invocations)
}

#[tokio::test]
async fn a_peer_answers_or_fails_in_its_own_terms() -> anyhow::Result<()> {
    let (_host, mut client) = pair().await?;
    let output = client
        .output("caller", &through("call", "callee", greet()))
        .await?;
    assert_eq!(output, json!({ "greeting": "hello, anna" }));

    let fail = json!({ "do": "fail", "code": "no-stock" });
    let output = client
        .output("caller", &through("try", "callee", fail.clone()))
        .await?;
    assert_eq!(output["failure"]["code"], "no-stock", "{output}");
    let ended = client
        .invoke("caller", &through("call", "callee", fail))
        .await?;
    let Some(Outcome::Failure(failure)) = ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(failure.code, "no-stock");

    // Input that breaks the peer's schema starts nothing.
    let before = invocations_of(&mut client, "callee").await?.len();
    let output = client
        .output("caller", &through("try", "callee", json!({ "do": "sing" })))
        .await?;
    assert_eq!(output["error"], "invalid", "{output}");
    assert_eq!(invocations_of(&mut client, "callee").await?.len(), before);

    let fan = json!({ "do": "fan", "peer": "callee", "input": greet(), "times": 5 });
    let output = client.output("caller", &fan).await?;
    assert_eq!(output, json!(vec![json!({ "greeting": "hello, anna" }); 5]));
    Ok(())
}

#[tokio::test]
async fn an_agent_calls_only_whom_its_manifest_names() -> anyhow::Result<()> {
    let (_host, mut client) = pair().await?;
    // By its tag, though it came later; and one that has neither name nor tag.
    client
        .deploy(&callee(
            "newcomer",
            r#"["greeter"]"#,
            r#"{ agent = "nobody" }"#,
        ))
        .await?;
    client
        .deploy(&callee(
            "stranger",
            r#"["other"]"#,
            r#"{ agent = "nobody" }"#,
        ))
        .await?;
    let to_newcomer = through("call", "newcomer", greet());
    let met = client.invoke("caller", &to_newcomer).await?;
    // Nobody has seen these two together before.
    client.decide(&met.approvals[0], Verdict::Approve).await?;
    let output = client.result(&met.name).await?;
    assert_eq!(output["greeting"], "hello, anna");
    let output = client.output("caller", &to_newcomer).await?;
    assert_eq!(output["greeting"], "hello, anna");
    for peer in ["stranger", "no-such-agent", "caller"] {
        let output = client
            .output("caller", &through("try", peer, greet()))
            .await?;
        assert_eq!(output["error"], "forbidden", "{peer}: {output}");
    }
    let output = client.output("caller", &json!({ "do": "peers" })).await?;
    assert_eq!(output, json!(["callee", "newcomer"]));
    // A name that the manifest has and no agent bears.
    let reach = through(
        "call",
        "newcomer",
        json!({ "do": "call", "peer": "nobody", "input": {} }),
    );
    let ended = client.invoke("caller", &reach).await?;
    let Some(Outcome::Failure(failure)) = ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(failure.code, "not-found");
    assert!(invocations_of(&mut client, "stranger").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_call_in_a_circle_is_refused_where_it_would_close() -> anyhow::Result<()> {
    let (_host, mut client) = pair().await?;
    let back = json!({ "do": "call", "peer": "caller", "input": { "do": "peers" } });
    let output = client
        .output("caller", &through("try", "callee", back))
        .await?;
    assert_eq!(output["failure"]["code"], "forbidden", "{output}");
    let message = output["failure"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("circle"), "{message}");
    assert_eq!(invocations_of(&mut client, "caller").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn chains_and_fans_end_at_their_limits() -> anyhow::Result<()> {
    let (_host, mut client) = pair().await?;
    let fan =
        |times: u32| json!({ "do": "fan", "peer": "callee", "input": greet(), "times": times });
    let output = client.output("caller", &fan(32)).await?;
    assert_eq!(output.as_array().map(Vec::len), Some(32));
    let ended = client.invoke("caller", &fan(33)).await?;
    let Some(Outcome::Failure(failure)) = ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(failure.code, "exhausted", "{failure:?}");

    for link in 1..=9 {
        let component = callee(
            &format!("link-{link}"),
            r#"["link"]"#,
            &format!(r#"{{ agent = "link-{}" }}"#, link + 1),
        );
        client.deploy(&component).await?;
    }
    // Link 1 calls link 2, and so on to the last, which greets.
    let chain = |links: u32| {
        (2..=links).rev().fold(
            greet(),
            |input, link| json!({ "do": "call", "peer": format!("link-{link}"), "input": input }),
        )
    };
    let output = client.output("link-1", &chain(8)).await?;
    assert_eq!(output["greeting"], "hello, anna");
    let ended = client.invoke("link-1", &chain(9)).await?;
    let Some(Outcome::Failure(failure)) = ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(failure.code, "exhausted", "{failure:?}");
    assert!(invocations_of(&mut client, "link-9").await?.is_empty());
    Ok(())
}

/// `boss`, which may call `clerk` and nothing else, and `clerk`, which may write to the market.
struct Office {
    _host: Host,
    client: Client,
    market: Origin,
}

impl Office {
    async fn new(config: &str) -> anyhow::Result<Self> {
        let market = Origin::json(json!({ "done": true })).await?;
        let host = Host::builder()
            .config(&format!(
                "[egress]\nprivate_origins = [{:?}]\n{config}",
                market.url()
            ))
            .start()?;
        let mut client = host.operator().await?;
        for (name, permission) in [
            ("clerk", probe::http(&market.url())),
            ("boss", probe::peer("clerk")),
        ] {
            client
                .deploy(&probe::component(name, &[&permission]))
                .await?;
        }
        Ok(Self {
            _host: host,
            client,
            market,
        })
    }

    /// What `boss` is told to do: have `clerk` place an order.
    fn delegated(&self) -> Value {
        let order = probe::post(&self.market.url(), "/orders", &json!({ "quantity": 1 }));
        json!([
            { "call": "bus.peer.find", "name": "clerk", "as": "b" },
            { "call": "bus.peer.call", "on": "b", "input": order, "as": "c" },
            { "call": "bus.pending.wait", "on": "c" },
        ])
    }

    /// The output of `clerk`, as `boss` got it.
    fn reply(output: &Value) -> anyhow::Result<Value> {
        let text = output[2]["ok"]["output"].as_str().unwrap_or_default();
        Ok(serde_json::from_str(text)?)
    }
}

#[tokio::test]
async fn a_callee_that_asks_a_person_holds_its_caller_and_shows_the_chain() -> anyhow::Result<()> {
    let mut office = Office::new("").await?;
    let delegated = office.delegated();
    let waiting = office.client.invoke("boss", &delegated).await?;
    assert_eq!(waiting.state(), Life::Waiting, "{waiting:?}");
    assert_eq!(
        waiting.approvals.len(),
        1,
        "the caller names what it waits for: {waiting:?}"
    );
    let approval = office.client.approval(&waiting.approvals[0]).await?;
    assert_eq!(approval.agent, "agents/clerk");
    assert_eq!(approval.chain, ["agents/boss"]);
    assert_eq!(approval.principal, "operator");
    assert_ne!(approval.invocation, waiting.name);
    let lines: Vec<_> = approval.rendering.lines().collect();
    for line in [
        "agent: clerk",
        "called through: boss",
        "on behalf of: operator",
    ] {
        assert!(
            lines.contains(&line),
            "{line} is missing in\n{}",
            approval.rendering
        );
    }
    let clerk = office.client.invocation(&approval.invocation).await?;
    assert_eq!(clerk.state(), Life::Waiting);

    office
        .client
        .decide(&approval.name, Verdict::Approve)
        .await?;
    let output = office.client.result(&waiting.name).await?;
    assert_eq!(Office::reply(&output)?[5]["ok"]["status"], 200, "{output}");
    assert_eq!(office.market.received().len(), 1);

    // The caller's own hands are still bound.
    let own = probe::post(&office.market.url(), "/orders", &json!({}));
    let output = office.client.output("boss", &json!(own[..1])).await?;
    assert_eq!(output[0]["error"], "forbidden", "{output}");
    Ok(())
}

#[tokio::test]
async fn cancelling_a_caller_ends_its_callee_and_withdraws_the_question() -> anyhow::Result<()> {
    let mut office = Office::new("").await?;
    let mut approvals = office.client.watch_approvals().await?;
    let delegated = office.delegated();
    let waiting = office.client.invoke("boss", &delegated).await?;
    let approval = approvals.asked("clerk").await?;
    let cancel = v1::CancelInvocationRequest {
        name: waiting.name.clone(),
        reason: "changed my mind".to_owned(),
    };
    office.client.invocations.cancel_invocation(cancel).await?;
    approvals.becomes(&approval.name, State::Cancelled).await?;
    assert_eq!(
        office.client.ended(&waiting.name).await?.state(),
        Life::Cancelled
    );
    let clerk = office.client.ended(&approval.invocation).await?;
    assert_eq!(clerk.state(), Life::Cancelled, "{clerk:?}");
    assert!(office.market.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn while_a_callee_waits_for_a_person_its_callers_clock_stands() -> anyhow::Result<()> {
    // The question outlives what the caller may take on the clock. If it counted, the caller would
    // be out of time before the question expires.
    let limits = "[approvals]\ndeadline_seconds = 4\n[runtime]\nwall_ms = 3000";
    let mut office = Office::new(limits).await?;
    let delegated = office.delegated();
    let waiting = office.client.invoke("boss", &delegated).await?;
    let output = office.client.result(&waiting.name).await?;
    assert_eq!(Office::reply(&output)?[5]["error"], "expired", "{output}");
    assert!(office.market.received().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_nobody_asks_nobody() -> anyhow::Result<()> {
    // Between finding the peer and calling it, the worker reads a page, and the peer goes.
    let host: Arc<OnceLock<(String, String)>> = Arc::default();
    let known = host.clone();
    let page = Origin::start(move |_| {
        let removed = known.get().and_then(|(endpoint, token)| {
            let mut remove = Command::new(binary());
            remove.args(["agents", "remove", "callee"]);
            remove
                .env("NEXUS_ENDPOINT", endpoint)
                .env("NEXUS_TOKEN", token);
            remove.stderr(Stdio::null()).status().ok()
        });
        let removed = removed.is_some_and(|status| status.success());
        origin::json(StatusCode::OK, &json!({ "removed": removed }))
    })
    .await?;
    let running = Host::builder()
        .config(&format!("[egress]\nprivate_origins = [{:?}]", page.url()))
        .start()?;
    host.set((running.endpoint().to_owned(), running.token().to_owned()))
        .expect("it is set once");
    let mut client = running.operator().await?;
    client.deploy(&guests::component("callee")).await?;
    let peer = r#"peer = { agent = "callee", class = "external" }"#;
    let worker = probe::component("worker", &[&probe::http(&page.url()), peer]);
    client.deploy(&worker).await?;

    let mut steps = vec![json!({ "call": "bus.peer.find", "name": "callee", "as": "peer" })];
    steps.extend(probe::exchange(&page.url(), "get", "/", &[]));
    steps.push(json!({ "call": "bus.peer.call", "on": "peer", "input": greet(), "as": "reply" }));
    steps.push(json!({ "call": "bus.pending.wait", "on": "reply" }));
    let ended = client.invoke("worker", &json!(steps)).await?;
    assert!(ended.approvals.is_empty(), "{ended:?}");
    let output = client.result(&ended.name).await?;
    assert_eq!(output[6]["error"], "not-found", "{output}");
    Ok(())
}
