//! What authors meet when they write `agent.toml`.

use nexus_manifest::{Access, Manifest, Permission};

const FULL: &str = r#"
format = 1
name = "eth-tracker"
version = "0.1.0"
summary = "Values an ETH portfolio"
tags = ["finance"]
input = { type = "object", required = ["address"] }
[config]
address = "0xabc"
[[permission]]
http = { origin = "https://rpc.example.com", methods = ["POST"], paths = ["/v1"],
         reads = [{ pointer = "/method", values = ["eth_getBalance", "eth_call"] }] }
[[permission]]
secret = { name = "exchange-key", audience = ["https://api.example.com"] }
[[permission]]
memory = { space = "kb-08", access = "read-write" }
[[permission]]
peer = { agent = "notifier" }
[[permission]]
peer = { tag = "finance" }
[limits]
memory = "64MiB"
cpu = "5s"
wall = "5m"
[schedule]
cron = "0 9 * * *"
zone = "Asia/Dubai"
input = { address = "0xabc" }
"#;

#[test]
fn a_full_manifest_is_read_and_shown() {
    let manifest = Manifest::parse(FULL).expect("valid");
    assert_eq!(manifest.memory("kb-08"), Some(Access::ReadWrite));
    assert!(manifest.secret("exchange-key").is_some());
    assert!(manifest.peer(&"notifier".parse().expect("name"), &[]));
    let lines: Vec<_> = manifest
        .permissions
        .iter()
        .map(Permission::to_string)
        .collect();
    assert_eq!(
        lines,
        [
            "http POST https://rpc.example.com on /v1; reads where /method is eth_getBalance or eth_call",
            "secret exchange-key towards https://api.example.com",
            "memory kb-08 (read-write)",
            "peer notifier",
            "peers tagged finance",
        ]
    );
}

#[test]
fn an_author_can_raise_a_class_and_call_a_space_private() {
    let text = FULL
        .replace(
            "paths = [\"/v1\"],",
            "paths = [\"/v1\"], class = \"irreversible\",",
        )
        .replace(
            "\"read-write\" }",
            "\"read-write\", private = true, class = \"external\" }",
        )
        .replace("\"notifier\" }", "\"notifier\", class = \"internal\" }");
    let manifest = Manifest::parse(&text).expect("valid");
    let lines: Vec<_> = manifest
        .permissions
        .iter()
        .map(Permission::to_string)
        .collect();
    assert_eq!(
        lines,
        [
            "http POST https://rpc.example.com on /v1; reads where /method is eth_getBalance or eth_call; all of it at least irreversible",
            "secret exchange-key towards https://api.example.com",
            "memory kb-08 (read-write, private); writes at least external",
            "peer notifier; calls at least internal",
            "peers tagged finance",
        ]
    );
    assert!(manifest.space("kb-08").is_some_and(|space| space.private));
    // There is nothing below what the host sees.
    for class in ["read", "free", ""] {
        let text = FULL.replace(
            "paths = [\"/v1\"],",
            &format!("paths = [\"/v1\"], class = {class:?},"),
        );
        let error = Manifest::parse(&text).expect_err(class).to_string();
        assert!(error.contains("irreversible"), "{error}");
    }
}

#[test]
fn the_permissions_digest_is_of_the_powers_alone() {
    let digest = |text: &str| Manifest::parse(text).expect("valid").permissions_digest();
    let base = digest(FULL);
    assert_eq!(
        base,
        digest(&FULL.replace("0.1.0", "0.2.0").replace("0xabc", "0xdef"))
    );
    for (from, to) in [
        ("\"/v1\"", "\"/*\""),
        ("\"POST\"", "\"POST\", \"GET\""),
        (", \"eth_call\"", ""),
        ("\"read-write\"", "\"read\""),
        ("notifier", "notifier2"),
    ] {
        assert_ne!(base, digest(&FULL.replace(from, to)), "{from} -> {to}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (from, to, hint) in [
        ("format = 1", "format = 2", "this host reads format 1"),
        ("summary =", "sumary =", "unknown field `sumary`"),
        ("\"eth-tracker\"", "\"ETH\"", "lower-case letters"),
        ("tags = [\"finance\"]", "tags = [\"Fin ance\"]", "tag"),
        (
            "https://rpc.example.com",
            "https://u@rpc.example.com",
            "user names",
        ),
        ("\"POST\"", "\"POTS\"", "use GET, HEAD"),
        ("paths = [\"/v1\"]", "paths = []", "at least one path"),
        ("[\"/v1\"]", "[\"/v1/../x\"]", "not canonical"),
        ("[\"/v1\"]", "[\"/v*\"]", "/v1/*"),
        (
            "[\"https://api.example.com\"]",
            "[\"http://api.example.com\"]",
            "all https",
        ),
        ("\"read-write\"", "\"write\"", "unknown variant"),
        (
            "{ agent = \"notifier\" }",
            "{ agent = \"notifier\", tag = \"x\" }",
            "either",
        ),
        ("\"64MiB\"", "\"64MB\"", "such as 64MiB"),
        ("\"5s\"", "\"5\"", "such as 5s"),
        ("type = \"object\"", "type = \"objekt\"", "schema `input`"),
        ("[limits]", "[limits]\nfuel = 1", "unknown field `fuel`"),
        (
            "peer = { tag = \"finance\" }",
            "memory = { space = \"kb-08\", access = \"read\" }",
            "stands twice",
        ),
    ] {
        let text = FULL.replace(from, to);
        assert_ne!(text, FULL, "{from} is in the manifest");
        let line = Manifest::parse(&text).expect_err(to).to_line();
        assert!(line.contains(hint), "{to}: {line}");
    }
}
