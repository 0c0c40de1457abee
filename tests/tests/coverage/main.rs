//! Every function that an agent can import, as the WIT lists them: it works, it needs its permission,
//! and it is refused by a policy that permits nothing. What is exempt stands here with its reason, and
//! a function that is missing here fails the tests.

mod cases;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::origin::Origin;
use nexus_tests::{Host, guests, probe};
use serde_json::{Value, json};
use tonic::Code;
use wit_parser::{FunctionKind, Resolve, Type, TypeDefKind, WorldItem};

use cases::{CASES, Seen};
use stage::Stage;

/// Everything is free but a DELETE, which the cases use to hold an invocation until it is watched.
const OPEN_POLICY: &str = r#"
    @id("open") permit (principal, action, resource)
    unless { context.verb == "DELETE" && context.approvals < 1 };
"#;

/// Agents may be published, and then do nothing.
const CLOSED_POLICY: &str =
    r#"@id("publish-only") permit (principal, action == Action::"publish", resource);"#;

/// Functions that ask the gate, and in whose answer the agent hears of a refusal.
const GATED: [(&str, &str); 11] = [
    ("bus.peer.call", "bus.pending.wait"),
    ("bus.peers", "bus.peers"),
    ("bus.pending.wait", "bus.pending.wait"),
    ("http.pending.wait", "http.pending.wait"),
    ("http.request.send", "http.pending.wait"),
    ("memory.space.delete", "memory.space.delete"),
    ("memory.space.get", "memory.space.get"),
    ("memory.space.put", "memory.space.put"),
    ("memory.space.put-if", "memory.space.put-if"),
    ("memory.space.scan", "memory.space.scan"),
    ("vault.secret.open", "vault.secret.open"),
];

/// Functions that no policy is asked about, and why.
const NOT_GATED: [(&str, &str); 16] = [
    (
        "bus.peer.card",
        "says of a peer what the manifest's permission to call it implies",
    ),
    (
        "bus.peer.find",
        "opens a handle by the manifest; `call` is gated",
    ),
    ("config.get", "returns the agent's own manifest"),
    (
        "http.origin.open",
        "opens a handle by the manifest; `send` is gated",
    ),
    (
        "http.origin.request",
        "begins a request in the host's memory; `send` is gated",
    ),
    (
        "http.request.body",
        "adds to a request that `send` takes to the gate",
    ),
    (
        "http.request.header",
        "adds to a request that `send` takes to the gate",
    ),
    (
        "http.request.secret-basic",
        "needs a handle that is gated, and adds to a request that is",
    ),
    (
        "http.request.secret-form",
        "needs a handle that is gated, and adds to a request that is",
    ),
    (
        "http.request.secret-header",
        "needs a handle that is gated, and adds to a request that is",
    ),
    (
        "http.request.secret-query",
        "needs a handle that is gated, and adds to a request that is",
    ),
    (
        "http.request.signature-header",
        "needs a handle that is gated, and adds to a request that is",
    ),
    (
        "http.request.signature-query",
        "needs a handle that is gated, and adds to a request that is",
    ),
    ("log.progress", "tells the caller, within the log's limit"),
    ("log.write", "tells the caller, within the log's limit"),
    (
        "memory.space.open",
        "opens a handle by the manifest; each use of it is gated",
    ),
];

/// The functions of the interfaces that the world `agent` imports, as `interface.function`, and among
/// them those that open a handle.
fn imported() -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(guests::root().join("wit"))?;
    let world = resolve.select_world(&[package], Some("agent"))?;
    let (mut all, mut openers) = (BTreeSet::new(), BTreeSet::new());
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else {
            bail!("the world imports something besides interfaces");
        };
        let interface = &resolve.interfaces[*id];
        let name = interface.name.as_deref().context("a name")?;
        for function in interface.functions.values() {
            // `[static]origin.open`, `[method]origin.request` or `get`.
            let bare = function.name.split(']').next_back().unwrap_or_default();
            let full = format!("{name}.{bare}");
            let takes_handle = function
                .params
                .iter()
                .any(|parameter| handle(&resolve, &parameter.ty));
            if matches!(function.kind, FunctionKind::Static(_)) && !takes_handle {
                openers.insert(full.clone());
            }
            all.insert(full);
        }
    }
    Ok((all, openers))
}

fn handle(resolve: &Resolve, of: &Type) -> bool {
    matches!(of, Type::Id(id) if matches!(resolve.types[*id].kind, TypeDefKind::Handle(_)))
}

fn names<'a>(lists: &[&[(&'a str, &'a str)]]) -> BTreeSet<String> {
    let entries = lists.iter().copied().flatten();
    entries.map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn the_tables_here_and_the_wit_name_the_same_functions() -> anyhow::Result<()> {
    let (functions, openers) = imported()?;
    let cases: BTreeSet<_> = CASES.iter().map(|case| case.function.to_owned()).collect();
    assert_eq!(cases, functions, "CASES and the WIT");
    let listed = names(&[&GATED, &NOT_GATED]);
    assert_eq!(listed, functions, "GATED, NOT_GATED and the WIT");
    let foreign: BTreeSet<_> = FOREIGN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(foreign, openers, "FOREIGN and the WIT");
    Ok(())
}

#[tokio::test]
async fn every_function_works_and_the_wire_shows_just_what_it_should() -> anyhow::Result<()> {
    let stage = Stage::new(OPEN_POLICY).await?;
    for case in &CASES {
        let (plain, secure) = (stage.plain.received().len(), stage.secure.received().len());
        let steps = (case.steps)(&stage);
        let (answers, events) = if case.function.starts_with("log.") {
            stage.watched(&steps).await?
        } else {
            (stage.run(&steps).await?, Vec::new())
        };
        for (step, answer) in steps.iter().zip(&answers) {
            assert!(
                answer.get("ok").is_some(),
                "{}: {step}: {answer}",
                case.function
            );
        }
        let at = steps.iter().rposition(|step| step["call"] == case.function);
        let at = at.with_context(|| format!("{} is not among its steps", case.function))?;
        let seen = Seen {
            value: answers[at]["ok"].clone(),
            plain: stage.plain.received().split_off(plain),
            secure: stage.secure.received().split_off(secure),
            events,
        };
        (case.check)(&stage, &seen);
    }
    Ok(())
}

#[tokio::test]
async fn a_component_is_refused_at_deploy_if_its_manifest_lacks_what_it_imports()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let (_, openers) = imported()?;
    let all = BTreeMap::from([
        ("http", probe::http("https://api.example.com")),
        (
            "vault",
            probe::secret("probe-key", &["https://api.example.com"]),
        ),
        ("memory", probe::memory("probe")),
        ("bus", probe::peer("callee")),
    ]);
    for opener in &openers {
        let interface = opener.split('.').next().unwrap_or_default();
        assert!(
            all.contains_key(interface),
            "no permission is known for {opener}"
        );
        let others: Vec<&str> = all
            .iter()
            .filter(|(name, _)| **name != interface)
            .map(|(_, permission)| permission.as_str())
            .collect();
        let manifest = probe::bare_manifest("probe", &others);
        let component = guests::with_manifest("probe", &manifest);
        let refused = client
            .upload(&component, v1::DeployAgentMetadata::default())
            .await
            .expect_err(opener);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert_eq!(reason(&refused), "MANIFEST_MISMATCH");
        let import = format!("nexus:agent/{interface}@0.1.0");
        assert!(refused.message().contains(&import), "{}", refused.message());
    }
    let agents = client.agents.list_agents(v1::ListAgentsRequest::default());
    assert!(agents.await?.into_inner().agents.is_empty());
    Ok(())
}

/// Steps that reach past the permissions of [`Stage`]; every last one has to be forbidden.
type Foreign = fn(&Stage) -> Vec<Vec<Value>>;

const FOREIGN: [(&str, Foreign); 4] = [
    ("http.origin.open", |stage| {
        let open = |url: String| vec![json!({ "call": "http.origin.open", "url": url, "as": "o" })];
        let plain = stage.plain.url();
        vec![
            open("https://other.example.com".to_owned()),
            open("http://localhost:1".to_owned()),
            open(plain.replace("http:", "https:")),
            open(plain.replace("localhost", "127.0.0.1")),
        ]
    }),
    ("vault.secret.open", |_| {
        let open =
            |name: &str| vec![json!({ "call": "vault.secret.open", "name": name, "as": "s" })];
        // One that the vault holds, and one that it does not: the answer must not tell them apart.
        vec![open("other-key"), open("no-such-key")]
    }),
    ("memory.space.open", |_| {
        let open = |name: &str, access: &str| json!({ "call": "memory.space.open", "name": name, "access": access, "as": "m" });
        let put = json!({ "call": "memory.space.put", "on": "m", "key": "k", "value": "v" });
        vec![
            vec![open("other", "read")],
            vec![open("readable", "read-write")],
            vec![open("readable", "read"), put],
        ]
    }),
    ("bus.peer.find", |_| {
        let find = |name: &str| vec![json!({ "call": "bus.peer.find", "name": name, "as": "b" })];
        vec![find("bystander"), find("no-such-agent"), find("probe")]
    }),
];

#[tokio::test]
async fn an_opener_is_refused_for_what_the_manifest_does_not_name() -> anyhow::Result<()> {
    let stage = Stage::new(OPEN_POLICY).await?;
    // An agent that is there and that the permissions do not name.
    let echo = include_str!("../../agents/echo/agent.toml").replace("\"echo\"", "\"bystander\"");
    let bystander = guests::with_manifest("echo", &echo);
    stage.client.clone().deploy(&bystander).await?;
    for (opener, foreign) in FOREIGN {
        for steps in foreign(&stage) {
            assert_eq!(
                stage.refusal(&steps).await?,
                "forbidden",
                "{opener}: {steps:?}"
            );
        }
    }
    assert!(stage.plain.received().is_empty() && stage.secure.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_handle_gives_no_more_than_the_methods_and_paths_of_its_permission() -> anyhow::Result<()>
{
    let origin = Origin::json(json!({})).await?;
    let url = origin.url();
    let host = Host::builder()
        .config(&format!("[egress]\nprivate_origins = [{url:?}]"))
        .start()?;
    let mut client = host.operator().await?;
    let permission =
        format!(r#"http = {{ origin = "{url}", methods = ["GET"], paths = ["/v1/*"] }}"#);
    client
        .deploy(&probe::component("narrow", &[&permission]))
        .await?;
    for (method, target, expected) in [
        ("get", "/v1/price", None),
        ("get", "/v2/price", Some("forbidden")),
        ("get", "/v1", Some("forbidden")),
        ("get", "/", Some("forbidden")),
        ("head", "/v1/price", Some("forbidden")),
        ("post", "/v1/price", Some("forbidden")),
        ("delete", "/v1/price", Some("forbidden")),
    ] {
        let mut steps = probe::exchange(&url, method, target, &[]);
        if method != "get" {
            // Such a request is not even begun.
            steps.truncate(2);
        }
        let output = client.output("narrow", &json!(steps)).await?;
        assert_eq!(
            output[steps.len() - 1]["error"].as_str(),
            expected,
            "{method} {target}: {output}"
        );
    }
    // What is not canonical is not even a request.
    for target in [
        "/v1/../v2",
        "/v1/%2e%2e/v2",
        "/v1/..%2fv2",
        "/v1/a%2Fb",
        "/v1\\..\\v2",
        "v1",
        "//v1",
    ] {
        let steps = probe::exchange(&url, "get", target, &[]);
        let output = client.output("narrow", &json!(steps[..2])).await?;
        assert_eq!(output[1]["error"], "invalid", "{target}: {output}");
    }
    let received: Vec<_> = origin.received().iter().map(|r| r.target.clone()).collect();
    assert_eq!(received, ["/v1/price"]);
    Ok(())
}

#[tokio::test]
async fn t22_with_a_policy_that_permits_nothing_every_import_is_refused() -> anyhow::Result<()> {
    let stage = Stage::new(CLOSED_POLICY).await?;
    for (function, heard) in GATED {
        let case = CASES.iter().find(|case| case.function == function);
        let mut steps = (case.context("a case")?.steps)(&stage);
        let at = steps.iter().position(|step| step["call"] == heard);
        steps.truncate(at.context("the refusal is heard in a step")? + 1);
        // Steps before it that are refused as well leave its handle whole.
        assert_eq!(stage.refusal(&steps).await?, "forbidden", "{function}");
    }

    assert!(stage.plain.received().is_empty() && stage.secure.received().is_empty());
    let mut client = stage.client.clone();
    let list = v1::ListInvocationsRequest {
        agent: "agents/callee".to_owned(),
        ..v1::ListInvocationsRequest::default()
    };
    let called = client.invocations.list_invocations(list).await?;
    assert!(
        called.into_inner().invocations.is_empty(),
        "the callee was called"
    );
    let list = v1::ListEntriesRequest {
        parent: "spaces/probe".to_owned(),
        ..v1::ListEntriesRequest::default()
    };
    let entries = client.memory.list_entries(list).await?.into_inner();
    assert!(entries.entries.is_empty(), "{entries:?}");
    let list = v1::ListApprovalsRequest {
        agent: "agents/probe".to_owned(),
        ..v1::ListApprovalsRequest::default()
    };
    let asked = client.approvals.list_approvals(list).await?.into_inner();
    assert!(
        asked.approvals.is_empty(),
        "nobody is asked about what is forbidden"
    );

    // Each refusal is in the trail.
    let list = v1::ListEventsRequest {
        page_size: 1000,
        ..v1::ListEventsRequest::default()
    };
    let events = client.audit.list_events(list).await?.into_inner().events;
    let refused = events.iter().filter(|event| event.kind == "action_refused");
    assert!(refused.count() >= GATED.len(), "{events:?}");
    Ok(())
}
