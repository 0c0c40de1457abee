//! `kill -9` of the host between a question and its answer.

use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_proto::v1::invocation::{Outcome, State as Life};
use nexus_tests::client::reason;
use nexus_tests::origin::Origin;
use nexus_tests::{Host, guests, probe};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tonic::Code;

/// A host with an agent that may write to the market.
async fn trading(market: &str) -> anyhow::Result<Host> {
    let host = Host::builder()
        .config(&format!("[egress]\nprivate_origins = [{:?}]", market))
        .start()?;
    let mut client = host.operator().await?;
    let permissions = [probe::http(market), probe::memory("orders")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("trader", &permissions))
        .await?;
    Ok(host)
}

/// Notes that an order is on its way, and sends it.
fn order(market: &str) -> Vec<Value> {
    let mut steps = vec![
        json!({ "call": "memory.space.open", "name": "orders", "access": "read-write", "as": "m" }),
        json!({ "call": "memory.space.put", "on": "m", "key": "1", "value": "on its way" }),
    ];
    let body = json!({ "quantity": 1 });
    steps.extend(probe::post(market, "/orders", &body));
    steps
}

#[tokio::test]
async fn a_question_that_the_host_died_with_is_cancelled_and_its_invocation_interrupted()
-> anyhow::Result<()> {
    let market = Origin::json(json!({})).await?;
    let host = trading(&market.url()).await?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("echo")).await?;
    let mut caller = host.client("anna", v1::Role::Caller).await?;
    let waiting = caller
        .invoke("trader", &json!(order(&market.url())))
        .await?;
    assert_eq!(waiting.state(), Life::Waiting, "{waiting:?}");
    let approval = waiting.approvals[0].clone();
    let shown = client.approval(&approval).await?;
    let checkpoint = host.nexus(&["audit", "checkpoint", "--output", "json"])?;
    assert!(checkpoint.status.success(), "{checkpoint:?}");
    let kept = host.data.with_extension("kept");
    std::fs::write(&kept, &checkpoint.stdout)?;
    let token = v1::CreateTokenRequest {
        principal: "carol".to_owned(),
        role: v1::Role::Approver.into(),
        ..v1::CreateTokenRequest::default()
    };
    let token = client.system.create_token(token).await?.into_inner();

    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;

    let cancelled = client.approval(&approval).await?;
    assert_eq!(cancelled.state(), State::Cancelled, "{cancelled:?}");
    assert!(
        cancelled.cancel_reason.contains("restart"),
        "{}",
        cancelled.cancel_reason
    );
    assert_eq!(
        cancelled.rendering, shown.rendering,
        "what was asked is still there"
    );
    let list = v1::ListApprovalsRequest {
        state: State::Cancelled.into(),
        ..v1::ListApprovalsRequest::default()
    };
    let listed = client.approvals.list_approvals(list).await?.into_inner();
    assert!(listed.approvals.iter().any(|found| found.name == approval));

    let interrupted = client.invocation(&waiting.name).await?;
    assert_eq!(interrupted.state(), Life::Failed, "{interrupted:?}");
    assert!(
        matches!(interrupted.outcome, Some(Outcome::Interruption(_))),
        "{interrupted:?}"
    );
    assert_eq!(interrupted.principal, "anna");
    assert_eq!(
        client.ended(&waiting.name).await?.outcome,
        interrupted.outcome
    );

    for verdict in [Verdict::Approve, Verdict::Deny] {
        let late = client.decide(&approval, verdict).await;
        let late = late.expect_err("nobody waits for it");
        assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");
        assert_eq!(reason(&late), "ALREADY_DECIDED");
    }
    assert!(
        market.received().is_empty(),
        "the order was placed without a yes"
    );

    // What was done before the question stays done, and tokens and agents are as they were.
    let entry = v1::GetEntryRequest {
        name: "spaces/orders/entries/1".to_owned(),
    };
    let entry = client.memory.get_entry(entry).await?.into_inner();
    assert_eq!(entry.value, b"on its way");
    let output = client.output("echo", &json!({ "still": "there" })).await?;
    assert_eq!(output, json!({ "still": "there" }));
    let mut carol = nexus_tests::Client::new(host.channel().await?, Some(&token.secret))?;
    assert_eq!(carol.approval(&approval).await?.state(), State::Cancelled);

    let kept = kept.to_string_lossy();
    let verified = host.nexus(&["audit", "verify", "--checkpoint", kept.as_ref()])?;
    assert!(verified.status.success(), "{verified:?}");

    // A new order goes the whole way.
    let again = client
        .invoke("trader", &json!(order(&market.url())))
        .await?;
    client.decide(&again.approvals[0], Verdict::Approve).await?;
    client.result(&again.name).await?;
    assert_eq!(market.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_upload_in_review_and_a_request_id_are_not_taken_for_done() -> anyhow::Result<()> {
    let market = Origin::json(json!({})).await?;
    let host = trading(&market.url()).await?;
    let mut client = host.operator().await?;
    let other = probe::component("other", &[&probe::http(&market.url())]);
    let review = client
        .upload(&other, v1::DeployAgentMetadata::default())
        .await?;
    let request = v1::InvokeAgentRequest {
        name: "agents/trader".to_owned(),
        input: json!(order(&market.url())).to_string(),
        request_id: "order-1".to_owned(),
        ..v1::InvokeAgentRequest::default()
    };
    let first = client.invocations.invoke_agent(request.clone()).await?;
    let first = first.into_inner();
    assert_eq!(first.state(), Life::Waiting);

    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert_eq!(
        client.approval(&review.approval).await?.state(),
        State::Cancelled
    );
    let accept = v1::AcceptAgentRequest {
        name: "agents/other".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let refused = client.agents.accept_agent(accept).await;
    assert_eq!(refused.expect_err("gone").code(), Code::FailedPrecondition);
    let get = v1::GetAgentRequest {
        name: "agents/other".to_owned(),
        ..v1::GetAgentRequest::default()
    };
    let missing = client.agents.get_agent(get).await;
    assert_eq!(missing.expect_err("never live").code(), Code::NotFound);
    // It can be deployed anew.
    client.deploy(&other).await?;

    // The same id finds the interrupted invocation; a client decides itself whether to try again.
    let again = client.invocations.invoke_agent(request).await?.into_inner();
    assert_eq!(again.name, first.name);
    assert!(
        matches!(again.outcome, Some(Outcome::Interruption(_))),
        "{again:?}"
    );
    assert!(market.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_stop_does_not_wait_for_people_who_can_no_longer_answer() -> anyhow::Result<()> {
    let market = Origin::json(json!({})).await?;
    // Far longer than this test may take: only what nobody waits for lets the host end.
    let config = format!(
        "[egress]\nprivate_origins = [{:?}]\n[server]\ndrain_seconds = 3600",
        market.url()
    );
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let start = || Host::builder().config(&config).data(&data).start();
    let host = start()?;
    let mut client = host.operator().await?;
    let permissions = [probe::http(&market.url()), probe::memory("orders")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("trader", &permissions))
        .await?;
    let waiting = client
        .invoke("trader", &json!(order(&market.url())))
        .await?;
    assert_eq!(waiting.state(), Life::Waiting, "{waiting:?}");
    assert!(host.stop()?.success());
    assert!(market.received().is_empty());

    let host = start()?;
    let mut client = host.operator().await?;
    let ended = client.invocation(&waiting.name).await?;
    assert_eq!(ended.state(), Life::Cancelled, "{ended:?}");
    let asked = client.approval(&waiting.approvals[0]).await?;
    assert_eq!(asked.state(), State::Cancelled, "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_never_ends() -> anyhow::Result<()> {
    let libraries = tempfile::tempdir()?;
    // Another host builds there, and a thread of this one waits for it.
    let lock = std::fs::File::create(libraries.path().join("lock"))?;
    lock.lock()?;
    let config = format!(
        "[server]\ndrain_seconds = 1\n[forge]\nlibraries = {:?}\n",
        libraries.path()
    );
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let status = client.system.get_status(v1::GetStatusRequest {}).await?;
    let status = status.into_inner();
    let toolchain = status.checks.iter().find(|check| check.part == "toolchain");
    let message = toolchain.map(|check| check.message.as_str());
    assert!(
        message.is_some_and(|message| message.contains("being prepared")),
        "{message:?}"
    );
    drop(client);
    let ended = host.stop()?;
    assert!(ended.success(), "{ended}");
    drop(lock);
    Ok(())
}

#[tokio::test]
async fn a_write_that_the_host_died_with_is_told_as_unknown() -> anyhow::Result<()> {
    // Takes the order and never says what became of it.
    let market = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", market.local_addr()?);
    let host = trading(&url).await?;
    let mut client = host.operator().await?;
    let waiting = client.invoke("trader", &json!(order(&url))).await?;
    client
        .decide(&waiting.approvals[0], Verdict::Approve)
        .await?;
    let (mut stream, _) = market.accept().await?;
    let mut received = Vec::new();
    while !received.ends_with(b"}") {
        stream.read_buf(&mut received).await?;
    }

    let host = host.kill_and_restart()?;
    let id = waiting.name.trim_start_matches("invocations/");
    let trail = || -> anyhow::Result<Vec<Value>> {
        let listed = host.nexus(&["audit", "list", "--invocation", id, "--output", "json"])?;
        let listed: Value = serde_json::from_slice(&listed.stdout)?;
        Ok(listed["events"].as_array().cloned().unwrap_or_default())
    };
    let of = |events: &[Value], kind: &str| -> Vec<Value> {
        let found = events.iter().filter(|event| event["kind"] == kind);
        found.cloned().collect()
    };
    let events = trail()?;
    let unknown = of(&events, "effect_unknown");
    assert_eq!(unknown.len(), 1, "{events:#?}");
    let begun = of(&events, "effect_started");
    let begun = begun.last().unwrap();
    assert_eq!(unknown[0]["actionDigest"], begun["actionDigest"]);
    assert!(!unknown[0]["actionDigest"].is_null(), "{unknown:#?}");
    let mut client = host.operator().await?;
    let ended = client.invocation(&waiting.name).await?;
    let Some(Outcome::Interruption(interruption)) = ended.outcome else {
        panic!("{ended:?}");
    };
    assert!(interruption.reason.contains("effect_unknown"));

    // It is told once.
    let host = host.kill_and_restart()?;
    let listed = host.nexus(&["audit", "list", "--invocation", id])?;
    let listed = String::from_utf8(listed.stdout)?;
    assert_eq!(listed.matches("effect_unknown").count(), 1, "{listed}");
    Ok(())
}
