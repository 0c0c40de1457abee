//! Examples: tried before publication, in the real runtime, with nothing happening to anybody.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, FailureReason, Stage, State};
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, client::reason};
use serde_json::json;
use tonic::Code;

use super::{agent, forging, manifest, rest};

/// Uses every capability that a forged agent has.
const SOURCE: &str = r#"use nexus_agent::prelude::*;
export!(invoke);
#[derive(Deserialize)]
struct Config { base: String }
fn invoke(input: Value) -> Result<Value> {
    let Config { base } = config::get()?;
    let price: Value = http::get(&format!("{base}/price"))?.json()?;
    http::post(&format!("{base}/orders")).json(&price).send()?;
    let notes = memory::space("notes")?;
    let before: Option<u32> = notes.get_json("count")?;
    notes.put_json("count", &(before.unwrap_or(0) + 1))?;
    let after: Option<u32> = notes.get_json("count")?;
    let said: Value = bus::peer("notifier")?.call(&input)?.json()?;
    Ok(json!({ "price": price, "after": after, "said": said, "input": input }))
}
"#;

fn request(base: &str, examples: Vec<v1::ForgeExample>) -> v1::ForgeAgentRequest {
    let more = format!(
        "config = {{ base = \"{base}\" }}\n[[permission]]\nhttp = {{ origin = \"{base}\", methods = [\"GET\", \"POST\"], paths = [\"/*\"] }}\n[[permission]]\nmemory = {{ space = \"notes\", access = \"read-write\" }}\n[[permission]]\npeer = {{ agent = \"notifier\" }}\n"
    );
    v1::ForgeAgentRequest {
        source: SOURCE.to_owned(),
        manifest: manifest("tried", &more),
        examples,
        ..forging("tried")
    }
}

fn example(base: &str, expected: serde_json::Value) -> v1::ForgeExample {
    v1::ForgeExample {
        input: "7".to_owned(),
        output: expected.to_string(),
        responses: vec![v1::RecordedResponse {
            method: "GET".to_owned(),
            url: format!("{base}/price"),
            body: json!({ "eur": 12 }).to_string(),
            ..v1::RecordedResponse::default()
        }],
        answers: [("notifier".to_owned(), json!("told").to_string())].into(),
        entries: vec![v1::RecordedEntry {
            space: "notes".to_owned(),
            key: "count".to_owned(),
            value: b"41".to_vec(),
        }],
        ..v1::ForgeExample::default()
    }
}

/// Forges until a person is asked or it ends.
async fn forge(
    client: &mut Client,
    request: v1::ForgeAgentRequest,
) -> anyhow::Result<Vec<v1::ForgeEvent>> {
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        let asked = matches!(event.detail, Some(Detail::Review(_)));
        events.push(event);
        if asked {
            break;
        }
    }
    Ok(events)
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_are_tried_with_recorded_reads_and_planned_writes() -> anyhow::Result<()> {
    let origin = Origin::json(json!({ "eur": 1 })).await?;
    let base = origin.url();
    let config = format!("[egress]\nprivate_origins = [{base:?}]");
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let expected = json!({ "price": { "eur": 12 }, "after": 42, "said": "told", "input": 7 });
    let good = example(&base, expected.clone());
    let events = forge(&mut client, request(&base, vec![good])).await?;
    let tested = events.iter().find_map(|event| match &event.detail {
        Some(Detail::Tested(tested)) => Some((event.stage(), tested.clone())),
        _ => None,
    });
    let (stage, tested) = tested.unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!((stage, tested.examples), (Stage::SelfTest, 1));
    let planned = [
        format!("http POST {base}/orders {{\"eur\":12}}"),
        "memory put notes/count 42".to_owned(),
        "bus call notifier 7".to_owned(),
    ];
    assert_eq!(tested.planned, planned);

    // Whoever decides sees what it would have done, and none of it has happened.
    let Some(Detail::Review(review)) = &events.last().unwrap().detail else {
        panic!("{events:?}");
    };
    assert_eq!(review.planned, planned);
    let shown = client.approval(&review.approval).await?.rendering;
    assert!(shown.contains("memory put notes/count 42"), "{shown}");
    assert!(origin.received().is_empty());
    let entries = v1::ListEntriesRequest {
        parent: "spaces/notes".to_owned(),
        ..v1::ListEntriesRequest::default()
    };
    let entries = client.memory.list_entries(entries).await?.into_inner();
    assert!(entries.entries.is_empty(), "{entries:?}");
    let trail = v1::ListEventsRequest {
        page_size: 1_000,
        agent: "agents/tried".to_owned(),
        ..v1::ListEventsRequest::default()
    };
    let trail = client.audit.list_events(trail).await?.into_inner().events;
    let effects = trail
        .iter()
        .filter(|event| event.kind.starts_with("effect"));
    assert_eq!(effects.count(), 0, "{trail:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_that_is_not_answered_ends_the_forge_with_what_differs() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let base = "https://a.example.com";
    let schema = v1::ForgeExample {
        output: String::new(),
        output_schema: json!({ "properties": { "after": { "type": "string" } } }).to_string(),
        ..example(base, json!(null))
    };
    for (wrong, words) in [
        (example(base, json!({ "after": 43 })), "differs at /after"),
        (example(base, json!({ "gone": 1 })), "differs at /gone"),
        (schema, "does not fit"),
    ] {
        let good = example(base, json!({ "after": 42 }));
        let events = client
            .forge
            .forge_agent(request(base, vec![good, wrong]))
            .await?;
        let events = rest(events.into_inner()).await?;
        let last = events.last().unwrap();
        assert_eq!(
            (last.stage(), last.state()),
            (Stage::SelfTest, State::Failed)
        );
        assert_eq!(last.failure_reason(), FailureReason::Examples);
        let Some(Detail::Diagnostics(found)) = &last.detail else {
            panic!("{last:?}");
        };
        assert_eq!(found.diagnostics.len(), 1, "{found:?}");
        let message = &found.diagnostics[0].message;
        assert!(message.starts_with("example 2"), "{message}");
        assert!(message.contains(words), "{message}");
    }
    assert!(agent(&mut client, "tried").await.is_err());
    let many = vec![example(base, json!(null)); 17];
    let refused = client.forge.forge_agent(request(base, many)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(reason(&refused), "INVALID_FIELD");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_template_is_tried_with_its_own_examples_as_far_as_they_apply() -> anyhow::Result<()>
{
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let origin = ("origin", "https://a.example.com");
    type Settings<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Settings<'_>, u32, &[&str]); 8] = [
        (
            "blank",
            &[("greeting", "{config.greeting} \"you\"")],
            1,
            &[],
        ),
        (
            "csv-ingest",
            &[("space", "kb-08")],
            1,
            &["memory put kb-08/row/1"],
        ),
        ("http-json", &[origin, ("path", "/v1/items")], 1, &[]),
        (
            "http-json",
            &[
                origin,
                ("path", "/v1/items"),
                ("fields", r#"{"usd": "/price"}"#),
            ],
            0,
            &[],
        ),
        (
            "http-send",
            &[origin, ("path", "/v1/m"), ("secret", "my-key")],
            1,
            &["http POST https://a.example.com/v1/m"],
        ),
        (
            "http-write",
            &[origin, ("write_path", "/buy")],
            2,
            &["http POST https://a.example.com/buy"],
        ),
        ("http-write", &[origin, ("price", "/usd")], 0, &[]),
        ("json-rpc", &[origin, ("path", "/rpc")], 1, &[]),
    ];
    for (number, (template, set, examples, planned)) in cases.into_iter().enumerate() {
        let set = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = v1::ForgeAgentRequest {
            agent_id: format!("of-template-{number}"),
            mode: v1::ForgeMode::Template.into(),
            template: template.to_owned(),
            set: set.collect(),
            validate_only: true,
            ..v1::ForgeAgentRequest::default()
        };
        let told = rest(client.forge.forge_agent(request).await?.into_inner()).await?;
        let tested = told.iter().find_map(|event| match &event.detail {
            Some(Detail::Tested(tested)) => Some(tested.clone()),
            _ => None,
        });
        let tested = tested.unwrap_or_default();
        assert_eq!(tested.examples, examples, "{template}: {told:?}");
        assert_eq!(
            tested.planned.len(),
            planned.len(),
            "{template}: {tested:?}"
        );
        for (told, line) in tested.planned.iter().zip(planned) {
            assert!(told.starts_with(line), "{template}: {told}");
        }
        let last = told.last().unwrap();
        assert_eq!(last.state(), State::Succeeded, "{template}: {last:?}");
    }
    Ok(())
}
