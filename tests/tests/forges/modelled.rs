//! Agents by a model: what is found goes back to it, what it may use is bounded, and its key stays
//! where it belongs.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, FailureReason, Stage, State};
use nexus_tests::{Authority, Client, Host, Model, client::reason, host::binary};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{forging, rest};

const DOUBLES: &str =
    r#"{ "summary": "Doubles", "input": { "type": "object" }, "permissions": [] }"#;
const READS: &str = r#"{ "summary": "Reads a note", "input": { "type": "object" },
  "permissions": [{ "memory": { "space": "notes", "access": "read" } }] }"#;

/// `src/lib.rs` with this body of `invoke(input: Value) -> Result<Value>`.
fn code(body: &str) -> String {
    format!(
        "```rust\nuse nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> {{\n{body}\n}}\n```"
    )
}

fn modelled(name: &str) -> v1::ForgeAgentRequest {
    v1::ForgeAgentRequest {
        mode: v1::ForgeMode::Model.into(),
        words: "do what is asked".to_owned(),
        source: String::new(),
        manifest: String::new(),
        ..forging(name)
    }
}

async fn forge(
    client: &mut Client,
    request: v1::ForgeAgentRequest,
) -> Result<Vec<v1::ForgeEvent>, Status> {
    rest(client.forge.forge_agent(request).await?.into_inner()).await
}

/// Why a forge ended without an agent.
fn failure(events: &[v1::ForgeEvent]) -> &str {
    match events.last().and_then(|event| event.detail.as_ref()) {
        Some(Detail::Failure(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// `[forge]`, with the libraries that all hosts of these tests share.
fn forge_table(lines: &str) -> String {
    let libraries = binary().with_file_name("forge-libraries");
    format!("[forge]\nlibraries = {libraries:?}\nprecompile_templates = false\n{lines}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_that_fails_is_mended_by_the_model() -> anyhow::Result<()> {
    let wrong = code(r#"Ok(json!({ "doubled": input["n"].as_i64().unwrap_or(0) + 3 }))"#);
    let right = code(r#"Ok(json!({ "doubled": input["n"].as_i64().unwrap_or(0) * 2 }))"#);
    let model = Model::saying(&[DOUBLES, &wrong, &right]).await?;
    let host = Host::builder().config(&model.config()).start()?;
    let mut client = host.operator().await?;
    let request = v1::ForgeAgentRequest {
        examples: vec![v1::ForgeExample {
            input: json!({ "n": 5 }).to_string(),
            output: json!({ "doubled": 10 }).to_string(),
            ..v1::ForgeExample::default()
        }],
        ..modelled("doubler")
    };
    let events = forge(&mut client, request).await?;
    let last = events.last().unwrap();
    assert!(
        matches!(last.detail, Some(Detail::Published(_))),
        "{last:?}"
    );
    assert_eq!(
        client.output("doubler", &json!({ "n": 21 })).await?,
        json!({ "doubled": 42 })
    );
    let failed: Vec<_> = events
        .iter()
        .filter(|it| it.state() == State::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].stage(), Stage::SelfTest);
    let told = model.asked()[2].last().to_owned();
    for words in ["example 1", "/doubled", "\"doubled\":8", "\"doubled\":10"] {
        assert!(told.contains(words), "{told}");
    }
    // What the model was used for is in the trail.
    let trail = v1::ListEventsRequest {
        page_size: 1_000,
        agent: "agents/doubler".to_owned(),
        ..v1::ListEventsRequest::default()
    };
    let trail = client.audit.list_events(trail).await?.into_inner().events;
    let ended = trail.iter().find(|event| event.kind == "forge_finished");
    let ended = format!("{:?}", ended.unwrap());
    assert!(
        ended.contains("input_tokens") && ended.contains("3000"),
        "{ended}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn access_that_was_not_asked_for_is_mended_by_the_model() -> anyhow::Result<()> {
    let writes = code(
        "let notes = memory::space(\"notes\")?;\nnotes.put_json(\"seen\", &input)?;\nOk(json!({ \"note\": notes.get_text(\"a\")? }))",
    );
    let reads = code(
        "let notes = memory::read_only(\"notes\")?;\nlet _ = input;\nOk(json!({ \"note\": notes.get_text(\"a\")? }))",
    );
    let model = Model::saying(&[READS, &writes, &reads]).await?;
    let host = Host::builder().config(&model.config()).start()?;
    let mut client = host.operator().await?;
    let events = forge(&mut client, modelled("reader")).await?;
    let last = events.last().unwrap();
    assert!(
        matches!(last.detail, Some(Detail::Published(_))),
        "{last:?}"
    );
    let failed: Vec<_> = events
        .iter()
        .filter(|it| it.state() == State::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].stage(), Stage::Proof);
    let told = model.asked()[2].last().to_owned();
    for words in ["space.put", "read-write"] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(
        client.output("reader", &json!({})).await?,
        json!({ "note": null })
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_comes_from_the_vault_and_goes_to_its_audience_alone() -> anyhow::Result<()> {
    const VALUE: &str = "sk-canary-7f3Zq9wK2pLx8Rt5";
    let authority = Authority::new()?;
    let good = code("Ok(input)");
    let answer = move |question: &nexus_tests::model::Question| {
        Some(if question.wants_spec() {
            DOUBLES.to_owned()
        } else {
            good.clone()
        })
    };
    let model = Model::start_tls(&authority, answer).await?;
    let config = format!(
        "[egress]\nextra_roots = {:?}\n{}key = \"vault:model-key\"\n[model.code]\nmodel = \"larger\"\n",
        authority.path(),
        model.config()
    );
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let events = forge(&mut client, modelled("keyed")).await?;
    assert!(
        failure(&events).contains("model-key"),
        "{}",
        failure(&events)
    );
    let secret = |audience: String| v1::SetSecretRequest {
        secret_id: "model-key".to_owned(),
        value: VALUE.to_owned(),
        audience: vec![audience],
        ..v1::SetSecretRequest::default()
    };
    client
        .vault
        .set_secret(secret("https://models.example.com".to_owned()))
        .await?;
    let events = forge(&mut client, modelled("keyed")).await?;
    let why = failure(&events);
    assert!(
        why.contains(&format!("--audience {}", model.origin())),
        "{why}"
    );
    assert!(
        model.asked().is_empty(),
        "nothing goes to an origin that is not its audience"
    );

    client.vault.set_secret(secret(model.origin())).await?;
    let events = forge(&mut client, modelled("keyed")).await?;
    let last = events.last().unwrap();
    assert!(
        matches!(last.detail, Some(Detail::Published(_))),
        "{last:?}"
    );
    let asked = model.asked();
    let names: Vec<_> = asked
        .iter()
        .map(|it| it.body["model"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["scripted", "larger"]);
    let bearer = format!("Bearer {VALUE}");
    assert!(
        asked
            .iter()
            .all(|it| it.authorization.as_ref() == Some(&bearer))
    );
    assert!(!format!("{events:?}").contains(VALUE));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_forges_so_often_in_an_hour_across_restarts() -> anyhow::Result<()> {
    let host = Host::builder()
        .config(&forge_table("per_hour = 2\n"))
        .start()?;
    let mut client = host.operator().await?;
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    // What fails counts, too: it has cost as much.
    let wrong = |name: &str| v1::ForgeAgentRequest {
        source: "fn".to_owned(),
        ..forging(name)
    };
    for name in ["one", "two"] {
        let events = forge(&mut client, wrong(name)).await?;
        let failed = events.last().unwrap().failure_reason();
        assert_eq!(failed, FailureReason::Compile);
    }
    let refused = |error: Status| {
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert_eq!(reason(&error), "FORGE_BUDGET");
        assert!(error.message().contains("per_hour"), "{error}");
        let details = error.get_error_details();
        let again = details
            .retry_info()
            .and_then(|info| info.retry_delay)
            .unwrap();
        assert!((3_000..=3_660).contains(&again.as_secs()), "{again:?}");
    };
    refused(forge(&mut client, wrong("three")).await.unwrap_err());
    let ensure = v1::EnsureAgentRequest {
        forge: Some(wrong("three")),
    };
    refused(client.forge.ensure_agent(ensure).await.unwrap_err());
    let named = v1::ForgeAgentRequest {
        request_id: "named".to_owned(),
        ..wrong("three")
    };
    refused(forge(&mut client, named.clone()).await.unwrap_err());
    forge(&mut bob, wrong("bobs")).await?;

    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    // A named request that was refused is no request that was done.
    refused(forge(&mut client, named).await.unwrap_err());
    let list = v1::ListForgesRequest::default();
    let forges = client.forge.list_forges(list).await?.into_inner().forges;
    assert_eq!(forges.len(), 3, "what is refused is no forge");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_uses_so_many_tokens_in_an_hour_across_restarts() -> anyhow::Result<()> {
    let model = Model::start(|_| Some("no specification".to_owned())).await?;
    let config = format!(
        "{}{}",
        forge_table("tokens_per_hour = 2_500\n"),
        model.config()
    );
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    // Twice 1,004 by the endpoint's own count: enough for one more answer to begin, and no further.
    let events = forge(&mut client, modelled("one")).await?;
    let failed = |events: &[v1::ForgeEvent]| events.last().unwrap().failure_reason();
    assert_eq!(failed(&events), FailureReason::ModelAnswer);
    assert!(
        failure(&events).contains("specification"),
        "{}",
        failure(&events)
    );
    let events = forge(&mut client, modelled("two")).await?;
    assert_eq!(failed(&events), FailureReason::ModelBudget);
    assert!(
        failure(&events).contains("tokens_per_hour"),
        "{}",
        failure(&events)
    );
    let asked = model.asked().len();

    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    let events = forge(&mut client, modelled("three")).await?;
    assert!(
        failure(&events).contains("tokens_per_hour"),
        "{}",
        failure(&events)
    );
    assert_eq!(model.asked().len(), asked, "nothing more is asked");
    // Whoever needs no model goes on.
    let events = forge(&mut client, forging("plain")).await?;
    assert!(matches!(
        events.last().unwrap().detail,
        Some(Detail::Published(_))
    ));
    assert_eq!(failed(&events), FailureReason::Unspecified);
    Ok(())
}
