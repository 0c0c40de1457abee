//! Words and parameters to a manifest and a source that compile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use nexus_forge::build::{Builder, Options};
use nexus_forge::template::{Catalog, Error, InputParameter, InputType};
use nexus_manifest::{AgentName, Manifest};

fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

fn set(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// What each template needs, with values that try to be code.
fn needed(template: &str) -> BTreeMap<String, String> {
    match template {
        "http-json" => set(&[
            ("origin", "https://api.example.com"),
            ("path", "/v1/items"),
            ("fields", r#"{"a\"]\n[[permission]]": "/x"}"#),
        ]),
        "http-send" => set(&[
            ("origin", "https://api.example.com"),
            ("path", "/v1/m"),
            ("secret", "my-key"),
        ]),
        "http-write" => set(&[("origin", "https://market.example.com")]),
        "json-rpc" => set(&[
            ("origin", "https://rpc.example.com"),
            ("method", "eth_\"]\nx = [\""),
        ]),
        "csv-ingest" => set(&[("space", "kb-08"), ("delimiter", ";")]),
        _ => set(&[("greeting", "\"; panic!() //")]),
    }
}

#[tokio::test]
async fn every_template_builds_with_hostile_texts() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path().join("forge"));
    options.helper = Some(env!("CARGO_BIN_EXE_nexus-forge-helper").into());
    let builder = Builder::open(options).unwrap();
    let catalog = Catalog::embedded().unwrap();
    let names: Vec<&str> = catalog
        .templates()
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    for wanted in ["blank", "csv-ingest", "http-json", "http-write", "json-rpc"] {
        assert!(names.contains(&wanted), "{wanted}");
    }
    for template in names {
        let rendered = catalog
            .render(
                &name("made-here"),
                Some(template),
                "say \"hi\"\n[x]",
                &needed(template),
                &[],
            )
            .unwrap();
        let built = builder
            .build(&rendered.source, &rendered.manifest)
            .await
            .unwrap();
        assert_eq!(built.manifest.name.as_str(), "made-here");
        let own = &catalog.get(template).unwrap().summary;
        assert_eq!(
            built.manifest.summary,
            format!("{own}, for the words: say \"hi\"\n[x]")
        );
        assert_eq!(built.warnings, [], "{template}");
    }
}

#[test]
fn words_pick_the_template() {
    let catalog = Catalog::embedded().unwrap();
    for (words, template) in [
        ("fetch the weather for a city", "http-json"),
        ("the balance of an ETH address", "json-rpc"),
        ("buy and sell on the market: place orders", "http-write"),
        ("import the rows of a CSV into memory", "csv-ingest"),
        ("send a message to a webhook with a token", "http-send"),
        ("just say hello", "blank"),
        // Other forms of the same words, and words that say nothing.
        ("create an agent that tracks my ETH portfolio", "json-rpc"),
        ("Fetches weather data", "http-json"),
        ("placing an order once prices dropped", "http-write"),
        ("alerts a channel in Slack", "http-send"),
        ("importing spreadsheets", "csv-ingest"),
        ("greets whoever calls", "blank"),
    ] {
        assert_eq!(catalog.rank(words)[0].0.name, template, "{words}");
    }
    assert_eq!(catalog.rank("what is this about")[0].1, 0);
}

#[test]
fn what_is_missing_is_listed_and_never_made_up() {
    let catalog = Catalog::embedded().unwrap();
    let words = "fetch json from https://evil.example/path";
    let Err(Error::NeedsParameters(needs)) =
        catalog.render(&name("ab"), None, words, &BTreeMap::new(), &[])
    else {
        panic!("it was made up");
    };
    assert_eq!(needs.template.as_deref(), Some("http-json"));
    let names: Vec<&str> = needs.parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["origin", "path"]);
    assert!(
        needs
            .parameters
            .iter()
            .all(|p| !p.example.is_empty() && !p.description.is_empty())
    );

    let Err(Error::NeedsParameters(needs)) =
        catalog.render(&name("ab"), None, "zzz", &BTreeMap::new(), &[])
    else {
        panic!("a template was chosen");
    };
    assert_eq!(needs.template, None);
    assert_eq!(needs.templates.len(), catalog.templates().len());
}

#[test]
fn a_value_of_the_wrong_type_and_an_unknown_name_are_refused() {
    let catalog = Catalog::embedded().unwrap();
    let render = |template, values: &[(&str, &str)]| {
        catalog.render(&name("ab"), Some(template), "", &set(values), &[])
    };
    assert!(matches!(
        render("http-write", &[("origin", "https://a.example/../x")]),
        Err(Error::Value { parameter, .. }) if parameter == "origin"
    ));
    assert!(matches!(
        render("blank", &[("origin", "https://a.example")]),
        Err(Error::UnknownParameter { .. })
    ));
    assert!(matches!(render("nothing", &[]), Err(Error::Unknown { .. })));
    let plain = [
        ("origin", "http://localhost:8099"),
        ("path", "/x"),
        ("secret", "key1"),
    ];
    let refused = render("http-send", &plain).unwrap_err().to_string();
    assert!(
        refused.contains("a secret is only sent over https, and origin is http://localhost:8099"),
        "{refused}"
    );
}

#[test]
fn what_the_input_holds_goes_into_the_schema_and_the_query() {
    let catalog = Catalog::embedded().unwrap();
    let inputs = [
        InputParameter {
            name: "symbol".to_owned(),
            kind: InputType::String,
            required: true,
        },
        InputParameter {
            name: "limit".to_owned(),
            kind: InputType::Integer,
            required: false,
        },
    ];
    let rendered = catalog
        .render(
            &name("ab"),
            Some("http-json"),
            "",
            &needed("http-json"),
            &inputs,
        )
        .unwrap();
    let manifest = Manifest::parse(&rendered.manifest).unwrap();
    let schema = manifest.input.unwrap();
    assert!(
        schema
            .check(&serde_json::json!({ "symbol": "ETH", "limit": 3 }))
            .is_ok()
    );
    assert!(schema.check(&serde_json::json!({ "limit": 3 })).is_err());
    assert!(
        schema
            .check(&serde_json::json!({ "symbol": "ETH", "limit": "x" }))
            .is_err()
    );
    assert!(
        schema
            .check(&serde_json::json!({ "symbol": "ETH", "coin": "x" }))
            .is_err()
    );
    assert_eq!(
        manifest.config["inputs"],
        serde_json::json!(["symbol", "limit"])
    );

    // By its parameter, and with no input at all.
    let mut named = needed("http-json");
    named.insert("inputs".to_owned(), "symbol, page".to_owned());
    for (values, taken) in [(&named, true), (&needed("http-json"), false)] {
        let rendered = catalog.render(&name("ab"), Some("http-json"), "", values, &[]);
        let manifest = Manifest::parse(&rendered.unwrap().manifest).unwrap();
        let schema = manifest.input.unwrap();
        let input = serde_json::json!({ "symbol": "ETH", "page": 2 });
        assert_eq!(schema.check(&input).is_ok(), taken);
        assert!(schema.check(&serde_json::json!({ "other": 1 })).is_err());
        assert!(schema.check(&serde_json::json!({})).is_ok());
    }
}
