//! What is in the binary is what its source says.

use bytes::Bytes;
use nexus_forge::{BuiltBy, Detail, ForgeId, Lineage, NotPublished, Stage};
use nexus_manifest::package;
use nexus_runtime::{Example, Prepared, Recorded, Rehearsed};

use crate::host::{Host, anna, last, request, template};

/// A template, what it needs, and an input.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const CASES: [Case; 6] = [
    ("blank", &[("greeting", "Ahoy")], r#"{"name": "Anna"}"#),
    (
        "csv-ingest",
        &[
            ("space", "kb-08"),
            ("key", "symbol"),
            ("numbers", r#"["price"]"#),
        ],
        r#"{"csv": "symbol,price\nETH,3150.25\nBTC,\n"}"#,
    ),
    (
        "http-json",
        &[
            ("origin", "https://api.example.com"),
            ("path", "/v1/items"),
            ("fields", r#"{"usd": "/price"}"#),
        ],
        "{}",
    ),
    (
        "http-send",
        &[
            ("origin", "https://api.example.com"),
            ("path", "/v1/m"),
            ("secret", "my-key"),
        ],
        r#"{"body": {"a": 1}}"#,
    ),
    (
        "http-write",
        &[("origin", "https://api.example.com")],
        r#"{"action": "order", "symbol": "ETH", "side": "buy", "quantity": 0.5}"#,
    ),
    (
        "json-rpc",
        &[("origin", "https://api.example.com")],
        r#"{"address": "0x1"}"#,
    ),
];

/// What the world answers to any of them.
fn world(input: &str) -> Example {
    let answered = |method: &str, path: &str, body: &str| Recorded {
        method: method.parse().unwrap(),
        url: format!("https://api.example.com{path}"),
        status: 200,
        content_type: "application/json".to_owned(),
        body: body.to_owned(),
    };
    Example {
        input: input.to_owned(),
        responses: vec![
            answered("GET", "/v1/items", r#"{"price": 3150.25, "more": 1}"#),
            answered("GET", "/price?symbol=ETH", r#"{"price": 3150.25}"#),
            answered("POST", "/", r#"{"result": "0xde0b6b3a7640000"}"#),
        ],
        ..Example::default()
    }
}

/// What came of a forge whose component is kept and not published.
struct Held {
    imports: Vec<String>,
    told: Vec<String>,
    prepared: Prepared,
    manifest: String,
    rehearsed: Rehearsed,
    lineage: Lineage,
    id: ForgeId,
}

async fn held(host: &Host, case: &Case, by: Option<BuiltBy>) -> Held {
    let (name, set, input) = case;
    let mut request = request("same", "", template(name, set));
    request.builder = by;
    let events = host.forge(request).await;
    let Detail::NotPublished {
        reason: NotPublished::HotReloadOff,
        digest,
    } = last(&events).1
    else {
        panic!("{name}: {events:?}")
    };
    let imports = events.iter().find_map(|event| match &event.detail {
        Some(Detail::Component { imports, .. }) => Some(imports.clone()),
        _ => None,
    });
    let told = events.iter().filter_map(|event| match &event.detail {
        Some(Detail::Log(line)) if event.stage == Stage::Build => Some(line.clone()),
        _ => None,
    });
    let component: Bytes = host.runtime.component(digest).await.unwrap();
    let prepared = host
        .runtime
        .prepare_forged(component.clone())
        .await
        .unwrap();
    Held {
        imports: imports.unwrap(),
        told: told.collect(),
        manifest: package::read_manifest(&component).unwrap(),
        rehearsed: host.runtime.rehearse(&prepared, &world(input)).await,
        prepared,
        lineage: host.forge.lineage(digest).await.unwrap().unwrap(),
        id: host.forge.list(None, 1).await.unwrap()[0].id,
    }
}

#[tokio::test]
async fn a_prebuilt_template_is_what_compiling_its_source_gives() {
    let host = Host::open(None).await;
    host.forge.set_hot_reload(false, &anna()).await.unwrap();
    let all: Vec<&str> = host
        .forge
        .templates()
        .templates()
        .iter()
        .map(|template| template.name.as_str())
        .collect();
    assert_eq!(all, CASES.map(|case| case.0), "each template is compared");
    for case in &CASES {
        let name = case.0;
        let prebuilt = held(&host, case, None).await;
        let compiled = held(&host, case, Some(BuiltBy::Local)).await;
        assert_ne!(prebuilt.id, compiled.id);
        assert_eq!(prebuilt.imports, compiled.imports, "{name}");
        assert_eq!(prebuilt.manifest, compiled.manifest, "{name}");
        assert_eq!(
            prebuilt.prepared.permissions_digest, compiled.prepared.permissions_digest,
            "{name}"
        );
        // Same answer, same writes in the same order.
        assert_eq!(
            format!("{:?}", prebuilt.rehearsed),
            format!("{:?}", compiled.rehearsed),
            "{name}"
        );
        assert!(
            matches!(
                prebuilt.rehearsed.outcome,
                nexus_runtime::Outcome::Success(_)
            ),
            "{name}: {:?}",
            prebuilt.rehearsed
        );

        let (ready, made) = (&prebuilt.lineage, &compiled.lineage);
        assert_eq!(ready.builder, BuiltBy::Prebuilt, "{name}");
        assert_eq!(made.builder, BuiltBy::Local, "{name}");
        assert!(
            !ready.source.is_empty() && ready.source == made.source,
            "{name}"
        );
        assert_eq!(ready.manifest, made.manifest, "{name}");
        assert_eq!(ready.flags, made.flags, "{name}");
        assert!(ready.toolchain.starts_with("rustc "), "{}", ready.toolchain);
        assert!(
            prebuilt
                .told
                .iter()
                .any(|line| line.starts_with("prebuilt: ")),
            "{name}: {:?}",
            prebuilt.told
        );
        assert!(compiled.told.is_empty(), "{name}: {:?}", compiled.told);
    }
}

#[tokio::test]
async fn machine_code_of_a_template_outlives_the_agents_made_from_it() {
    let host = Host::open(None).await;
    let artifacts = || {
        let kept = std::fs::read_dir(host.data().join("artifacts")).unwrap();
        kept.flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "art"))
            .count()
    };
    for greeting in ["a", "b", "c"] {
        let blank = template("blank", &[("greeting", greeting)]);
        let events = host.forge(request("greeter", "", blank)).await;
        assert!(
            matches!(last(&events).1, Detail::Published(_)),
            "{events:?}"
        );
        assert_eq!(artifacts(), 1, "one machine code serves every greeting");
    }
    let greeter = "greeter".parse().unwrap();
    host.runtime.remove(&greeter, &anna()).await.unwrap();
    assert_eq!(artifacts(), 1);
}
