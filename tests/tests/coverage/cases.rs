//! How each function is used, and what has to come of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use nexus_proto::v1;
use nexus_proto::v1::invocation_event::Event;
use nexus_tests::origin::{Origin, Received};
use nexus_tests::probe;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::stage::{SECRET, Stage};

/// The secret where it is percent-encoded.
const SECRET_ENCODED: &str = "k3y%2Fwith%2Bodd%3Dchars%20%26%20%25spaces";

/// A function, the steps that use it, and what has to come of them.
pub(crate) struct Case {
    pub(crate) function: &'static str,
    pub(crate) steps: fn(&Stage) -> Vec<Value>,
    pub(crate) check: fn(&Stage, &Seen),
}

/// What was seen of a case.
pub(crate) struct Seen {
    /// What the function returned.
    pub(crate) value: Value,
    /// What the plain origin received.
    pub(crate) plain: Vec<Received>,
    /// What the origin behind TLS received.
    pub(crate) secure: Vec<Received>,
    pub(crate) events: Vec<Event>,
}

fn call(function: &str) -> Value {
    json!({ "call": function })
}

fn open_secret() -> Value {
    json!({ "call": "vault.secret.open", "name": "probe-key", "as": "s" })
}

fn open_space() -> Value {
    json!({ "call": "memory.space.open", "name": "probe", "access": "read-write", "as": "m" })
}

fn find_peer() -> Value {
    json!({ "call": "bus.peer.find", "name": "callee", "as": "b" })
}

fn put(key: &str, value: &str) -> Value {
    json!({ "call": "memory.space.put", "on": "m", "key": key, "value": value })
}

/// A request to the origin behind TLS with a secret in it.
fn with_secret(stage: &Stage, method: &str, target: &str, parts: &[Value]) -> Vec<Value> {
    let mut steps = vec![open_secret()];
    steps.extend(probe::exchange(&stage.secure.url(), method, target, parts));
    steps
}

fn greeting() -> Vec<Value> {
    let input = json!({ "do": "greet", "name": "anna" });
    vec![
        find_peer(),
        json!({ "call": "bus.peer.call", "on": "b", "input": input, "as": "c" }),
        json!({ "call": "bus.pending.wait", "on": "c" }),
    ]
}

fn read_price(stage: &Stage) -> Vec<Value> {
    probe::exchange(&stage.plain.url(), "get", "/price?of=eth", &[])
}

fn signature(message: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes every key");
    mac.chain_update(message.as_bytes())
        .finalize()
        .into_bytes()
        .to_vec()
}

/// The one request that an origin received: its line, and its headers besides those that the host
/// sends with every request.
#[track_caller]
fn only(origin: &Origin, received: &[Received]) -> (String, Vec<String>, String) {
    assert_eq!(received.len(), 1, "{received:?}");
    let request = &received[0];
    let mut fields = request.fields();
    for added in [
        "accept-encoding: gzip".to_owned(),
        format!("host: {}", origin.authority()),
        format!("user-agent: nexus/{}", env!("CARGO_PKG_VERSION")),
    ] {
        let at = fields.iter().position(|field| *field == added);
        fields.remove(at.unwrap_or_else(|| panic!("{added} is missing in {fields:?}")));
    }
    let line = format!("{} {}", request.method, request.target);
    let body = String::from_utf8_lossy(&request.body).into_owned();
    (line, fields, body)
}

#[track_caller]
fn sent(origin: &Origin, received: &[Received], line: &str, fields: &[String], body: &str) {
    let expected = (line.to_owned(), fields.to_vec(), body.to_owned());
    assert_eq!(only(origin, received), expected);
}

pub(crate) const CASES: [Case; 27] = [
    Case {
        function: "config.get",
        steps: |_| vec![call("config.get")],
        check: |_, seen| assert_eq!(seen.value, json!(r#"{"colour":"green"}"#)),
    },
    Case {
        function: "log.write",
        steps: |_| vec![json!({ "call": "log.write", "level": "warn", "value": "hello" })],
        check: |_, seen| {
            let entry = v1::LogEntry {
                level: v1::log_entry::Level::Warn.into(),
                message: "hello".to_owned(),
            };
            assert!(
                seen.events.contains(&Event::Log(entry)),
                "{:?}",
                seen.events
            );
        },
    },
    Case {
        function: "log.progress",
        steps: |_| vec![json!({ "call": "log.progress", "fraction": 0.5, "value": "half" })],
        check: |_, seen| {
            let progress = v1::Progress {
                fraction: 0.5,
                message: "half".to_owned(),
            };
            assert!(
                seen.events.contains(&Event::Progress(progress)),
                "{:?}",
                seen.events
            );
        },
    },
    Case {
        function: "http.origin.open",
        steps: |stage| {
            vec![json!({ "call": "http.origin.open", "url": stage.plain.url(), "as": "o" })]
        },
        check: |_, seen| assert!(seen.plain.is_empty(), "opening sends nothing"),
    },
    Case {
        function: "http.origin.request",
        steps: |stage| {
            let mut steps = read_price(stage);
            steps.truncate(2);
            steps
        },
        check: |_, seen| assert!(seen.plain.is_empty(), "nothing leaves before it is sent"),
    },
    Case {
        function: "http.request.header",
        steps: |stage| {
            let part = json!({ "call": "http.request.header", "name": "X-Trace", "value": "grün" });
            probe::exchange(&stage.plain.url(), "get", "/", &[part])
        },
        check: |stage, seen| {
            sent(
                &stage.plain,
                &seen.plain,
                "GET /",
                &["x-trace: grün".into()],
                "",
            )
        },
    },
    Case {
        function: "http.request.body",
        steps: |stage| {
            let part = |value| json!({ "call": "http.request.body", "value": value });
            probe::exchange(
                &stage.plain.url(),
                "put",
                "/a",
                &[part("first"), part("second")],
            )
        },
        check: |stage, seen| {
            let fields = ["content-length: 6".to_owned()];
            sent(&stage.plain, &seen.plain, "PUT /a", &fields, "second");
        },
    },
    Case {
        function: "http.request.secret-header",
        steps: |stage| {
            let part = json!({ "call": "http.request.secret-header", "name": "Authorization", "format": "Bearer {}", "secret": "s" });
            with_secret(stage, "get", "/account", &[part])
        },
        check: |stage, seen| {
            let fields = [format!("authorization: Bearer {SECRET}")];
            sent(&stage.secure, &seen.secure, "GET /account", &fields, "");
        },
    },
    Case {
        function: "http.request.secret-query",
        steps: |stage| {
            let part =
                json!({ "call": "http.request.secret-query", "name": "api key", "secret": "s" });
            with_secret(stage, "get", "/q?a=1", &[part])
        },
        check: |stage, seen| {
            let line = format!("GET /q?a=1&api%20key={SECRET_ENCODED}");
            sent(&stage.secure, &seen.secure, &line, &[], "");
        },
    },
    Case {
        function: "http.request.secret-basic",
        steps: |stage| {
            let part =
                json!({ "call": "http.request.secret-basic", "name": "anna", "secret": "s" });
            with_secret(stage, "get", "/", &[part])
        },
        check: |stage, seen| {
            let pair = STANDARD.encode(format!("anna:{SECRET}"));
            let fields = [format!("authorization: Basic {pair}")];
            sent(&stage.secure, &seen.secure, "GET /", &fields, "");
        },
    },
    Case {
        function: "http.request.secret-form",
        steps: |stage| {
            let body = json!({ "call": "http.request.body", "value": "grant=all" });
            let part = json!({ "call": "http.request.secret-form", "name": "key", "secret": "s" });
            with_secret(stage, "post", "/token", &[body, part])
        },
        check: |stage, seen| {
            let body = format!("grant=all&key={SECRET_ENCODED}");
            let fields = [
                format!("content-length: {}", body.len()),
                "content-type: application/x-www-form-urlencoded".to_owned(),
            ];
            sent(&stage.secure, &seen.secure, "POST /token", &fields, &body);
        },
    },
    Case {
        function: "http.request.signature-header",
        steps: |stage| {
            let part = json!({ "call": "http.request.signature-header", "name": "x-signature", "value": "GET/orders", "encoding": "hex", "secret": "s" });
            with_secret(stage, "get", "/orders", &[part])
        },
        check: |stage, seen| {
            let fields = [format!(
                "x-signature: {}",
                hex::encode(signature("GET/orders"))
            )];
            sent(&stage.secure, &seen.secure, "GET /orders", &fields, "");
        },
    },
    Case {
        function: "http.request.signature-query",
        steps: |stage| {
            let part = json!({ "call": "http.request.signature-query", "name": "sig", "value": "a=1", "encoding": "base64", "secret": "s" });
            with_secret(stage, "get", "/orders?a=1", &[part])
        },
        check: |stage, seen| {
            let sig = STANDARD.encode(signature("a=1"));
            let sig = sig
                .replace('+', "%2B")
                .replace('/', "%2F")
                .replace('=', "%3D");
            let line = format!("GET /orders?a=1&sig={sig}");
            sent(&stage.secure, &seen.secure, &line, &[], "");
        },
    },
    Case {
        function: "http.request.send",
        steps: |stage| probe::post(&stage.plain.url(), "/orders", &json!({ "side": "buy" })),
        check: |stage, seen| {
            let body = r#"{"side":"buy"}"#;
            let fields = [
                format!("content-length: {}", body.len()),
                "content-type: application/json".to_owned(),
            ];
            sent(&stage.plain, &seen.plain, "POST /orders", &fields, body);
        },
    },
    Case {
        function: "http.pending.wait",
        steps: read_price,
        check: |stage, seen| {
            sent(&stage.plain, &seen.plain, "GET /price?of=eth", &[], "");
            assert_eq!(seen.value["status"], 200);
            assert_eq!(seen.value["body"], r#"{"price":3000}"#);
            let headers = seen.value["headers"].to_string();
            assert!(
                headers.contains(r#"["content-type","application/json"]"#),
                "{headers}"
            );
        },
    },
    Case {
        function: "vault.secret.open",
        steps: |_| vec![open_secret()],
        check: |_, seen| assert_eq!(seen.value, Value::Null),
    },
    Case {
        function: "memory.space.open",
        steps: |_| vec![open_space()],
        check: |_, seen| assert_eq!(seen.value, Value::Null),
    },
    Case {
        function: "memory.space.put",
        steps: |_| vec![open_space(), put("put", "one")],
        check: |_, seen| assert!(seen.value.is_u64(), "{}", seen.value),
    },
    Case {
        function: "memory.space.get",
        steps: |_| {
            let get = json!({ "call": "memory.space.get", "on": "m", "key": "get" });
            vec![open_space(), put("get", "two"), get]
        },
        check: |_, seen| {
            assert_eq!(seen.value["key"], "get");
            assert_eq!(seen.value["value"], "two");
        },
    },
    Case {
        function: "memory.space.scan",
        steps: |_| {
            let scan =
                json!({ "call": "memory.space.scan", "on": "m", "prefix": "scan/", "limit": 10 });
            vec![
                open_space(),
                put("scan/b", "2"),
                put("scan/a", "1"),
                put("scan0", "3"),
                scan,
            ]
        },
        check: |_, seen| {
            let entries = seen.value["entries"].as_array().into_iter().flatten();
            let keys: Vec<_> = entries.map(|entry| entry["key"].clone()).collect();
            assert_eq!(keys, ["scan/a", "scan/b"]);
            assert_eq!(seen.value["next"], Value::Null);
        },
    },
    Case {
        function: "memory.space.put-if",
        steps: |_| {
            let put_if = |revision: Value| json!({ "call": "memory.space.put-if", "on": "m", "key": "put-if", "value": "x", "revision": revision });
            vec![open_space(), put_if(Value::Null), put_if(Value::Null)]
        },
        check: |_, seen| assert_eq!(seen.value, Value::Null, "the key was there"),
    },
    Case {
        function: "memory.space.delete",
        steps: |_| {
            let delete = json!({ "call": "memory.space.delete", "on": "m", "key": "delete" });
            vec![open_space(), put("delete", "x"), delete]
        },
        check: |_, seen| assert_eq!(seen.value, Value::Null),
    },
    Case {
        function: "bus.peer.find",
        steps: |_| vec![find_peer()],
        check: |_, seen| assert_eq!(seen.value, Value::Null),
    },
    Case {
        function: "bus.peer.card",
        steps: |_| vec![find_peer(), json!({ "call": "bus.peer.card", "on": "b" })],
        check: |_, seen| {
            assert_eq!(seen.value["name"], "callee");
            assert_eq!(seen.value["summary"], "Greets whoever calls");
            assert_eq!(seen.value["tags"], json!(["test", "greeter"]));
            let schema = seen.value["input-schema"].as_str().unwrap_or_default();
            assert!(schema.contains("greet"), "{schema}");
        },
    },
    Case {
        function: "bus.peer.call",
        steps: |_| greeting(),
        check: |_, seen| assert_eq!(seen.value, Value::Null),
    },
    Case {
        function: "bus.pending.wait",
        steps: |_| greeting(),
        check: |_, seen| assert_eq!(seen.value["output"], r#"{"greeting":"hello, anna"}"#),
    },
    Case {
        function: "bus.peers",
        steps: |_| vec![call("bus.peers")],
        check: |_, seen| {
            let names: Vec<_> = seen.value.as_array().into_iter().flatten().collect();
            assert_eq!(names.len(), 1, "{names:?}");
            assert_eq!(names[0]["name"], "callee");
        },
    },
];
