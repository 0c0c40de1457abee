//! OWASP AISVS 1.0, chapter C9: orchestration and agentic action.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_gate::kind::{Http, MemoryWrite};
use nexus_gate::{Action, Floor, Policy, Refusal, StartError, Verdict as Word};
use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_tests::client::reason;
use nexus_tests::desk::{Desk, last};
use nexus_tests::origin::{Origin, json as answer};
use nexus_tests::{Authority, Host, guests, probe};
use serde_json::{Value, json};
use tonic::Code;

use crate::house::{self, House, alice};
use crate::office::{Office, events};

#[tokio::test]
async fn c9_2_1_what_leaves_the_host_is_blocked_until_a_person_s_approval() -> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let host = Host::builder()
        .config(&format!("[egress]\nprivate_origins = [{:?}]", origin.url()))
        .start()?;
    let mut client = host.operator().await?;
    let http = probe::http(&origin.url());
    client.deploy(&probe::component("trader", &[&http])).await?;
    for (sent, method) in ["post", "put", "patch", "delete"].into_iter().enumerate() {
        let steps = probe::exchange(&origin.url(), method, "/account", &[]);
        let waiting = client.invoke("trader", &json!(steps)).await?;
        let question = client.approval(&waiting.approvals[0]).await?;
        assert_eq!(question.state(), State::Pending, "{method}");
        assert_eq!(origin.received().len(), sent, "{method} went unasked");
        client.decide(&question.name, Verdict::Approve).await?;
        client.result(&waiting.name).await?;
        assert_eq!(origin.received().len(), sent + 1, "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn c9_2_2_the_request_shows_everything_uncut_and_untransformed() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let body = json!({ "note": "x".repeat(60_000), "last": "\u{202e}the very end" });
    let steps = probe::post(&desk.origin.url(), "/orders?dry=no", &body);
    let (_, question) = desk.park(&steps).await?;
    assert!(question.rendering.contains(&"x".repeat(60_000)));
    // Nothing that would not show as itself is left to the terminal.
    assert!(question.rendering.contains(r"\u{202e}the very end"));
    assert!(!question.rendering.contains('\u{202e}'));
    // What nobody would read to its end is not asked at all.
    let large = json!({ "note": "x".repeat(70_000) });
    let steps = probe::post(&desk.origin.url(), "/orders", &large);
    let output = desk.client.output("trader", &json!(steps)).await?;
    assert_eq!(last(&output)["error"], "invalid", "{output}");
    assert!(desk.origin.received().is_empty());
    Ok(())
}

/// A read, a write that stays, and a write that leaves, of one agent.
async fn of_each_class() -> anyhow::Result<(Host, nexus_tests::Client, Origin, Vec<Value>)> {
    let origin = Origin::json(json!({})).await?;
    let host = Host::builder()
        .config(&format!("[egress]\nprivate_origins = [{:?}]", origin.url()))
        .start()?;
    let mut client = host.operator().await?;
    let permissions = [probe::http(&origin.url()), probe::memory("notes")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("trader", &permissions))
        .await?;
    let mut steps = probe::sending("read", &origin.url(), "get", "/price", &[]);
    steps.push(probe::waiting("read"));
    steps.extend([
        json!({ "call": "memory.space.open", "name": "notes", "access": "read-write", "as": "m" }),
        json!({ "call": "memory.space.put", "on": "m", "key": "k", "value": "v" }),
    ]);
    steps.extend(probe::post(&origin.url(), "/orders", &json!({})));
    Ok((host, client, origin, steps))
}

#[tokio::test]
async fn c9_2_3_every_action_has_a_class_that_the_host_gives() -> anyhow::Result<()> {
    let (_host, mut client, _origin, steps) = of_each_class().await?;
    let waiting = client.invoke("trader", &json!(steps)).await?;
    let question = client.approval(&waiting.approvals[0]).await?;
    assert_eq!(question.effect_class(), v1::EffectClass::External);
    client.decide(&question.name, Verdict::Approve).await?;
    client.result(&waiting.name).await?;
    let mut classes = Vec::new();
    for event in events(&mut client).await? {
        if event.kind == "effect_started" && event.agent == "agents/trader" {
            let detail: Value = serde_json::from_str(&event.detail)?;
            classes.push(format!("{} {}", detail["verb"], detail["class"]).replace('"', ""));
        }
    }
    classes.retain(|class| !class.starts_with("publish"));
    assert_eq!(classes, ["GET read", "put internal", "POST external"]);
    Ok(())
}

#[tokio::test]
async fn c9_2_4_the_classes_are_enforced_and_what_a_guest_says_lowers_none() -> anyhow::Result<()> {
    let (_host, mut client, origin, steps) = of_each_class().await?;
    // Free as far as it reads or stays; then the write stops it.
    let waiting = client.invoke("trader", &json!(steps)).await?;
    assert_eq!(waiting.state(), v1::invocation::State::Waiting);
    assert_eq!(origin.received().len(), 1, "the read");
    // A handle for reading does not write.
    let steps = json!([
        { "call": "memory.space.open", "name": "notes", "access": "read", "as": "m" },
        { "call": "memory.space.put", "on": "m", "key": "k", "value": "v" },
    ]);
    let output = client.output("trader", &steps).await?;
    assert_eq!(output[1]["error"], "forbidden", "{output}");
    // Nor is a POST a read because its words say so.
    let parts = [
        json!({ "call": "http.request.header", "name": "x-http-method-override", "value": "GET" }),
        json!({ "call": "http.request.body", "value": "{\"method\":\"read\"}" }),
    ];
    let steps = probe::exchange(&origin.url(), "post", "/read", &parts);
    let waiting = client.invoke("trader", &json!(steps)).await?;
    let question = client.approval(&waiting.approvals[0]).await?;
    assert_eq!(question.effect_class(), v1::EffectClass::External);
    assert_eq!(origin.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn c9_2_5_an_agent_gets_no_more_power_without_a_person() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let before = desk.client.output("trader", &json!([])).await?;
    let mut forger = desk.host.client("model", v1::Role::Forger).await?;
    // The same name with more power, by whoever works for a model.
    let more = probe::component("trader", &[&probe::http("https://elsewhere.example.com")]);
    let refused = forger
        .upload(&more, v1::DeployAgentMetadata::default())
        .await;
    let waits = match refused {
        Ok(answer) => answer.state() == v1::deploy_agent_response::State::Review,
        Err(status) => status.code() == Code::PermissionDenied,
    };
    assert!(waits, "it is not live");
    // And under a name of its own: a person is asked, and it is not the forger who answers.
    let own = probe::component("own", &[&probe::http("https://elsewhere.example.com")]);
    let review = forger
        .upload(&own, v1::DeployAgentMetadata::default())
        .await?;
    assert_eq!(review.state(), v1::deploy_agent_response::State::Review);
    let accept = v1::AcceptAgentRequest {
        name: "agents/own".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let refused = forger.agents.accept_agent(accept).await;
    assert_eq!(
        reason(&refused.expect_err("not theirs")),
        "ROLE_NOT_ALLOWED"
    );
    let missing = forger.invoke("own", &json!([])).await;
    assert_eq!(reason(&missing.expect_err("not live")), "REVIEW_PENDING");
    assert_eq!(desk.client.output("trader", &json!([])).await?, before);
    Ok(())
}

#[tokio::test]
async fn c9_2_8_an_approval_is_bound_to_parameters_requester_context_and_a_nonce()
-> anyhow::Result<()> {
    let mut house = House::new().await;
    let order = house::order();
    let mut digests = vec![order.digest(&house.gate.policy().version())?];
    let mut ask = async |action: Action| {
        let waiting = house.bring::<Http>(action);
        let asked = house.next(nexus_gate::State::Pending).await;
        waiting.abort();
        house.next(nexus_gate::State::Cancelled).await;
        asked.digest
    };
    type Change = fn(&mut Action);
    let changes: [Change; 8] = [
        |_| (),
        // Once more the very same: only the nonce differs.
        |_| (),
        |action| action.target.push_str("?x=1"),
        |action| action.payload.parts[0].bytes = "{}".into(),
        |action| action.sequence += 1,
        |action| Arc::make_mut(&mut action.context).principal = alice(),
        |action| Arc::make_mut(&mut action.context).invocation = nexus_gate::InvocationId::new(),
        |action| {
            Arc::make_mut(&mut action.context)
                .chain
                .push("boss".parse().unwrap());
        },
    ];
    for change in changes {
        let mut changed = order.clone();
        change(&mut changed);
        digests.push(ask(changed).await);
    }
    let unique: std::collections::BTreeSet<_> = digests.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), digests.len(), "{digests:?}");
    Ok(())
}

#[tokio::test]
async fn c9_2_9_what_makes_approvals_is_out_of_an_agent_s_reach() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    // Its manifest names the host's own listener; a reviewer has even accepted that.
    let permissions = [probe::http(&host.endpoint), probe::memory("notes")];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("climber", &permissions))
        .await?;
    // It is not even an origin to talk to.
    let steps = json!([
        { "call": "http.origin.open", "url": host.endpoint, "as": "o" },
        { "call": "config.get" },
    ]);
    let ended = client.output("climber", &steps).await?;
    assert_eq!(ended[0]["error"], "forbidden", "{ended}");
    let token = std::fs::read_to_string(host.data.join("operator.token"))?;
    assert!(!ended.to_string().contains(token.trim()));
    // The wire without a token.
    let mut nobody = host.anonymous().await?;
    let list = v1::ListApprovalsRequest::default();
    let refused = nobody.approvals.list_approvals(list).await;
    assert_eq!(refused.expect_err("no token").code(), Code::Unauthenticated);
    // And no file: the world has neither a file system nor sockets to import.
    let mut world = String::new();
    for file in std::fs::read_dir(guests::root().join("wit"))?.flatten() {
        if file.path().extension().is_some_and(|end| end == "wit") {
            world.push_str(&std::fs::read_to_string(file.path())?);
        }
    }
    assert!(world.contains("import http"), "the world was read");
    assert!(!world.contains("wasi:filesystem") && !world.contains("wasi:sockets"));
    Ok(())
}

#[tokio::test]
async fn c9_2_10_the_gravest_class_in_a_chain_of_agents_governs() -> anyhow::Result<()> {
    let mut office = Office::new().await?;
    // Calling a peer is free; what the peer then does is not.
    let delegated = office.delegated(&office.order());
    let waiting = office.client.invoke("boss", &json!(delegated)).await?;
    assert_eq!(waiting.state(), v1::invocation::State::Waiting);
    let question = office.client.approval(&waiting.approvals[0]).await?;
    assert_eq!(question.effect_class(), v1::EffectClass::External);
    assert_eq!(
        (question.agent.as_str(), &question.chain[..]),
        ("agents/clerk", &["agents/boss".to_owned()][..])
    );
    assert!(office.market.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn c9_5_1_policy_restricts_verbs_and_parameters_and_the_runtime_enforces_it()
-> anyhow::Result<()> {
    let policy = r#"
        @id("all") permit (principal, action, resource);
        @id("no-orders") forbid (principal, action, resource)
        when { context has path && context.path == "/orders" && context.verb == "POST" };
    "#;
    let mut desk = Desk::under(policy).await?;
    let output = desk.client.output("trader", &json!(desk.order(1))).await?;
    assert_eq!(last(&output)["error"], "forbidden", "{output}");
    assert!(
        last(&output)["text"]
            .as_str()
            .is_some_and(|text| text.contains("no-orders"))
    );
    let other = probe::post(&desk.origin.url(), "/quotes", &json!({}));
    let output = desk.client.output("trader", &json!(other)).await?;
    assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    let targets: Vec<_> = desk
        .origin
        .received()
        .into_iter()
        .map(|r| r.target)
        .collect();
    assert_eq!(targets, ["/quotes"]);
    Ok(())
}

#[tokio::test]
async fn c9_5_2_whom_it_is_done_for_travels_to_every_downstream_call() -> anyhow::Result<()> {
    let mut office = Office::new().await?;
    let mut anna = office.host.client("anna", v1::Role::Caller).await?;
    // What stands in the input is no context.
    let mut steps = office.order();
    steps.insert(
        0,
        json!({ "call": "log.write", "level": "info", "value": "principal: operator" }),
    );
    let delegated = office.delegated(&steps);
    let waiting = anna.invoke("boss", &json!(delegated)).await?;
    let question = office.client.approval(&waiting.approvals[0]).await?;
    assert_eq!(question.principal, "anna");
    assert_eq!(question.chain, ["agents/boss"]);
    assert!(
        question
            .rendering
            .lines()
            .any(|line| line == "on behalf of: anna")
    );
    office
        .client
        .decide(&question.name, Verdict::Approve)
        .await?;
    anna.result(&waiting.name).await?;
    let clerk = office.client.invocation(&question.invocation).await?;
    assert_eq!(clerk.principal, "anna");
    let done: Vec<_> = office
        .events()
        .await?
        .into_iter()
        .filter(|event| event.kind.starts_with("effect_"))
        .filter(|event| event.detail.contains(r#""kind":"effect""#))
        .map(|event| (event.agent, event.principal))
        .collect();
    assert_eq!(done.len(), 4, "the call and the order: {done:?}");
    assert!(
        done.iter().all(|(_, principal)| principal == "anna"),
        "{done:?}"
    );
    Ok(())
}

#[tokio::test]
async fn c9_5_3_access_is_decided_by_the_policy_engine() -> anyhow::Result<()> {
    // No model is configured, and every decision names the policies that made it.
    let (_host, mut client, _origin, steps) = of_each_class().await?;
    let waiting = client.invoke("trader", &json!(steps)).await?;
    client
        .decide(&waiting.approvals[0], Verdict::Approve)
        .await?;
    client.result(&waiting.name).await?;
    let decided: Vec<_> = events(&mut client)
        .await?
        .into_iter()
        .filter(|event| event.agent == "agents/trader" && !event.action_digest.is_empty())
        .collect();
    assert!(decided.len() >= 8, "{decided:?}");
    for event in decided {
        assert!(!event.policies.is_empty(), "{event:?}");
    }
    Ok(())
}

#[tokio::test]
async fn c9_5_4_a_secret_never_stands_where_a_model_could_read_it() -> anyhow::Result<()> {
    const CANARY: &str = "canary-8Kd2+wqZ/77Lx";
    let authority = Authority::new()?;
    let origin = Origin::start_tls(&authority, |received| {
        answer(http::StatusCode::OK, &json!({ "told": received.fields() }))
    })
    .await?;
    let host = Host::builder()
        .config(&format!(
            "[egress]\nprivate_origins = [{:?}]\nextra_roots = {:?}",
            origin.url(),
            authority.path()
        ))
        .start()?;
    let mut client = host.operator().await?;
    let permissions = [
        probe::http(&origin.url()),
        probe::secret("exchange-key", &[&origin.url()]),
    ];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("trader", &permissions))
        .await?;
    let set = v1::SetSecretRequest {
        secret_id: "exchange-key".to_owned(),
        value: CANARY.to_owned(),
        audience: vec![origin.url()],
        ..v1::SetSecretRequest::default()
    };
    client.vault.set_secret(set).await?;
    let bearer = json!({ "call": "http.request.secret-header", "name": "authorization", "format": "Bearer {}", "secret": "s" });
    let mut steps = vec![json!({ "call": "vault.secret.open", "name": "exchange-key", "as": "s" })];
    steps.extend(probe::exchange(
        &origin.url(),
        "post",
        "/account",
        &[bearer],
    ));
    let waiting = client.invoke("trader", &json!(steps)).await?;
    let question = client.approval(&waiting.approvals[0]).await?;
    client.decide(&question.name, Verdict::Approve).await?;
    let ended = client.ended(&waiting.name).await?;
    assert!(
        origin.received()[0].fields().concat().contains(CANARY),
        "the host has put it in"
    );
    let trail = events(&mut client).await?;
    let said = format!("{question:?}{ended:?}{trail:?}");
    assert!(said.contains("exchange-key"), "by name");
    assert!(!said.contains(CANARY));
    Ok(())
}

#[tokio::test]
async fn c9_5_5_delegation_needs_an_explicit_permission() -> anyhow::Result<()> {
    let office = Office::new().await?;
    let mut client = office.client.clone();
    client.deploy(&guests::component("echo")).await?;
    for (agent, peer) in [("boss", "echo"), ("clerk", "boss"), ("boss", "boss")] {
        let steps = json!([{ "call": "bus.peer.find", "name": peer, "as": "b" }]);
        let output = client.output(agent, &steps).await?;
        assert_eq!(output[0]["error"], "forbidden", "{agent} {peer}: {output}");
    }
    // And where the manifest has it, policy can still take it away.
    let policy = r#"
        @id("all") permit (principal, action, resource);
        @id("no-delegation") forbid (principal, action, resource)
        when { context.capability == "bus" && context.verb == "call" };
    "#;
    let house = House::under(policy).await;
    let call = house::action("bus", "call", "notifier");
    let refused = house
        .gate
        .check::<nexus_gate::kind::BusCall>(call, &())
        .await;
    assert!(
        matches!(&refused, Err(Refusal::Forbidden(why)) if why.contains("no-delegation")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn c9_5_6_long_work_is_checked_against_the_policy_in_force_at_each_action()
-> anyhow::Result<()> {
    let mut house = House::new().await;
    // One invocation: it has a permit, waits for a person, and goes on.
    let permit = house.gate.check::<MemoryWrite>(house::put(), &()).await?;
    let waiting = house.bring::<Http>(house::order());
    house.next(nexus_gate::State::Pending).await;
    let strict = r#"@id("nothing") forbid (principal, action, resource);"#;
    house.set_policy(Policy::parse(strict)?).await;
    assert_eq!(waiting.await?.unwrap_err(), Refusal::Cancelled);
    let refused = permit.start(&house::put().payload).await;
    assert!(
        matches!(refused, Err(StartError::PolicyChanged)),
        "{refused:?}"
    );
    let refused = house.gate.check::<MemoryWrite>(house::put(), &()).await;
    assert!(
        matches!(&refused, Err(Refusal::Forbidden(why)) if why.contains("nothing")),
        "{refused:?}"
    );

    // The same of a guest that has asked, waits, and goes on.
    let mut desk = Desk::new().await?;
    let price = probe::exchange(&desk.origin.url(), "get", "/price", &[]);
    let steps = [desk.order(1), price].concat();
    let (waiting, _) = desk.park(&steps).await?;
    let change = v1::SetPolicyRequest {
        text: strict.to_owned(),
        ..v1::SetPolicyRequest::default()
    };
    desk.client.policy.set_policy(change).await?;
    let output = desk.client.result(&waiting.name).await?;
    assert_eq!(last(&output)["error"], "forbidden", "{output}");
    let late = desk
        .client
        .decide(&waiting.approvals[0], Verdict::Approve)
        .await;
    assert!(late.is_err(), "{late:?}");
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[derive(Clone, Default)]
struct Lock(Arc<AtomicBool>);

impl Floor for Lock {
    fn check(&self, _: &Action) -> Result<(), String> {
        let engaged = self.0.load(Ordering::SeqCst);
        (!engaged).then_some(()).ok_or_else(|| "locked".to_owned())
    }
}

#[tokio::test]
async fn c9_6_1_the_kill_switch_stops_everything_at_once() -> anyhow::Result<()> {
    let lock = Lock::default();
    let floor = Arc::new(lock.clone());
    let mut house = House::with(|options| options.floor = floor).await;
    let mut permits = Vec::new();
    for _ in 0..20 {
        permits.push(house.gate.check::<MemoryWrite>(house::put(), &()).await?);
    }
    let waiting = house.bring::<Http>(house::order());
    let asked = house.next(nexus_gate::State::Pending).await;
    house
        .gate
        .decide(asked.id, Word::Approve, None, &alice())
        .await?;
    let approved = waiting.await??;
    lock.0.store(true, Ordering::SeqCst);
    // What was permitted before, what a person has approved, and what comes now.
    for permit in permits {
        let refused = permit.start(&house::put().payload).await;
        assert!(matches!(refused, Err(StartError::Forbidden(_))));
    }
    let refused = approved.start(&house::order().payload).await;
    assert!(matches!(refused, Err(StartError::Forbidden(_))));
    let refused = house.gate.check::<MemoryWrite>(house::put(), &()).await;
    assert!(matches!(refused, Err(Refusal::Forbidden(_))));
    assert_eq!(house.count(nexus_audit::EventKind::EffectStarted).await, 0);

    // And through the binary: what a person approves after it goes nowhere.
    let mut desk = Desk::new().await?;
    let (waiting, question) = desk.park(&desk.order(1)).await?;
    let engage = v1::EngageLockRequest {
        reason: "something is wrong".to_owned(),
    };
    desk.client.system.engage_lock(engage).await?;
    // It may be withdrawn already: either way nothing happens.
    let _ = desk.client.decide(&question.name, Verdict::Approve).await;
    desk.client.ended(&waiting.name).await?;
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn c9_6_2_an_approval_that_does_not_come_in_time_blocks_the_action() -> anyhow::Result<()> {
    let mut desk = Desk::with("[approvals]\ndeadline_seconds = 1").await?;
    let (waiting, question) = desk.park(&desk.order(1)).await?;
    let output = desk.client.result(&waiting.name).await?;
    assert_eq!(last(&output)["error"], "expired", "{output}");
    let expired = desk.client.approval(&question.name).await?;
    assert_eq!(expired.state(), State::Expired);
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn c9_6_3_whoever_stops_agents_does_not_go_through_them() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[runtime]\ncpu_ms = 600000")
        .start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("hostile")).await?;
    // Every thread that runs agents is held by one that never gives it back.
    let mut busy = Vec::new();
    for _ in 0..8 {
        let start = v1::StartInvocationRequest {
            name: "agents/hostile".to_owned(),
            input: json!({ "do": "cpu-loop" }).to_string(),
            ..v1::StartInvocationRequest::default()
        };
        let started = client.invocations.start_invocation(start).await?;
        busy.push(started.into_inner().name);
    }
    // A line to a socket beside the data, which is served apart from them and from every call.
    let mut socket = UnixStream::connect(host.data.join("lock.sock"))?;
    writeln!(socket, "engage stop")?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer)?;
    assert_eq!(answer["engaged"], true, "{answer}");
    for name in busy {
        let ended = client.ended(&name).await?;
        assert_eq!(ended.state(), v1::invocation::State::Cancelled, "{ended:?}");
    }
    let refused = client.invoke("hostile", &json!({ "do": "cpu-loop" })).await;
    let refused = refused.err().map(|status| reason(&status));
    assert_eq!(refused.as_deref(), Some("LOCKED"));
    Ok(())
}
