use nexus_forge::{Detail, Mode, Stage, StageState};
use nexus_runtime::Outcome;

use crate::host::{Host, last, request};
use crate::scripted::Scripted;

const SPEC: &str = r#"Here it is:
```json
{ "summary": "Doubles numbers", "tags": [], "input": { "type": "object", "required": ["n"],
  "properties": { "n": { "type": "integer" } } }, "output": null, "permissions": [] }
```"#;

const GOOD: &str = "```rust
use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input { n: i64 }

#[derive(Serialize)]
struct Output { doubled: i64 }

fn invoke(input: Input) -> Result<Output> {
    Ok(Output { doubled: input.n * 2 })
}
nexus_agent::export!(invoke);
```
That is all.";

#[tokio::test]
async fn code_that_does_not_compile_is_mended() {
    let broken = GOOD.replace("input.n * 2", "input.m * 2");
    let model = Scripted::start(&[SPEC, &broken, GOOD]).await;
    let host = Host::open(Some(model.config.clone())).await;
    let events = host
        .forge(request("doubler", "double a number", Mode::Model))
        .await;
    let Detail::Published(generation) = last(&events).1 else {
        panic!("{events:?}")
    };
    assert!(
        matches!(&*host.invoke("doubler", r#"{"n":21}"#).await, Outcome::Success(text) if text.contains("42"))
    );

    // The failed build is told, and the model too.
    let failed: Vec<_> = events
        .iter()
        .filter(|e| e.state == StageState::Failed)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].stage, Stage::Build);
    let streamed: String = events
        .iter()
        .filter_map(|e| match &e.detail {
            Some(Detail::ModelText(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(streamed, format!("{SPEC}{broken}{GOOD}"));
    let asked = model.asked();
    assert_eq!(asked.len(), 3);
    let format = &asked[0]["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["strict"], true);
    assert!(asked[1]["response_format"].is_null());
    assert!(
        asked[0]["messages"][1]["content"]
            .as_str()
            .unwrap()
            .contains("double a number")
    );
    let repair = asked[2]["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .to_string();
    assert!(
        repair.contains("E0609") && repair.contains("src/lib.rs"),
        "{repair}"
    );

    let lineage = host
        .forge
        .lineage(&generation.digest)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lineage.model.as_deref(), Some("scripted-1"));
    assert!(lineage.source.contains("input.n * 2"));
}

#[tokio::test]
async fn a_model_that_never_gets_it_right_ends_the_forge() {
    let broken = "```rust\nfn nothing() { broken }\n```";
    let model = Scripted::start(&[SPEC, broken, broken, broken, GOOD]).await;
    let host = Host::open(Some(model.config.clone())).await;
    let events = host.forge(request("doubler", "double", Mode::Model)).await;
    assert!(
        matches!(last(&events), (StageState::Failed, Detail::Diagnostics(found)) if !found.is_empty())
    );
    assert_eq!(model.asked().len(), 4, "one spec and three turns");
    assert!(host.runtime.get(&"doubler".parse().unwrap()).is_none());
}

#[tokio::test]
async fn a_specification_is_checked_and_asked_for_again_once() {
    let wrong = r#"{"summary": "s", "input": {}, "permissions": [{"files": "/"}]}"#;
    let model = Scripted::start(&[wrong, SPEC, GOOD]).await;
    let host = Host::open(Some(model.config.clone())).await;
    let events = host.forge(request("doubler", "double", Mode::Model)).await;
    assert!(
        matches!(last(&events).1, Detail::Published(_)),
        "{events:?}"
    );
    let second = model.asked()[1]["messages"].to_string();
    assert!(second.contains("not valid"), "{second}");

    let model = Scripted::start(&[wrong, wrong, SPEC]).await;
    let host = Host::open(Some(model.config.clone())).await;
    let events = host.forge(request("doubler", "double", Mode::Model)).await;
    assert!(
        matches!(last(&events), (StageState::Failed, Detail::Failure(_))),
        "{events:?}"
    );
}

#[tokio::test]
async fn what_an_endpoint_does_not_take_is_asked_for_once() {
    // It knows JSON and no schemas, and does not count tokens in a stream.
    let refuses = |question: &serde_json::Value| {
        question["response_format"]["type"] == "json_schema"
            || !question["stream_options"].is_null()
    };
    let model = Scripted::choosy(&[SPEC, GOOD, SPEC, GOOD], refuses).await;
    let host = Host::open(Some(model.config.clone())).await;
    for agent in ["first", "second"] {
        let events = host.forge(request(agent, "double", Mode::Model)).await;
        assert!(
            matches!(last(&events).1, Detail::Published(_)),
            "{events:?}"
        );
    }
    let asked = model.asked();
    let forms: Vec<_> = asked
        .iter()
        .map(|question| {
            let strict = question["response_format"]["json_schema"]["strict"] == true;
            let counts = !question["stream_options"].is_null();
            let form = question["response_format"]["type"].as_str();
            (form.unwrap_or_default(), strict, counts)
        })
        .collect();
    assert_eq!(
        forms,
        [
            ("json_schema", true, true),
            ("json_schema", false, true),
            ("json_object", false, true),
            ("", false, true),
            // Nothing of that was it: what is left is to do without the count.
            ("", false, false),
            ("", false, false),
            // The second forge asks as the first has learned to.
            ("", false, false),
            ("", false, false),
        ]
    );
}

#[tokio::test]
async fn what_a_model_may_use_ends_the_forge_and_is_told() {
    let model = Scripted::start(&[SPEC, GOOD]).await;
    let mut config = model.config.clone();
    config.bounds.tokens = 2_000;
    let host = Host::open(Some(config)).await;
    let events = host.forge(request("doubler", "double", Mode::Model)).await;
    let Detail::Failure(reason) = last(&events).1 else {
        panic!("{events:?}")
    };
    // The specification fits; the reference of the SDK, which code is asked for with, does not.
    for word in ["max_tokens", "1 answer,", "(estimated)"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(
        model.asked().len(),
        1,
        "what can't be paid for is not asked"
    );
}

#[tokio::test]
async fn without_an_endpoint_or_with_a_failing_one_it_says_so() {
    let host = Host::open(None).await;
    let events = host.forge(request("doubler", "double", Mode::Model)).await;
    assert!(
        matches!(last(&events).1, Detail::Failure(reason) if reason.contains("[model]")),
        "{events:?}"
    );

    let model = Scripted::start(&[]).await;
    let host = Host::open(Some(model.config.clone())).await;
    let events = host.forge(request("doubler", "double", Mode::Model)).await;
    let Detail::Failure(reason) = last(&events).1 else {
        panic!("{events:?}")
    };
    assert!(
        reason.contains("500") && reason.contains("exhausted"),
        "{reason}"
    );
    assert!(!reason.contains("key-0815"));
}
