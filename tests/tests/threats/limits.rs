//! Guests that take all they can get: T1 to T4, and each limit by its own outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_proto::v1::{InvokeAgentRequest, exhausted::Limit};
use nexus_tests::origin::Origin;
use nexus_tests::{Host, guests as real, probe};
use serde_json::json;

use super::guests::{LOG, NULL, agent, module};
use super::support::{ending, host, is_well, limit};

/// Two invocations of one agent at a time: a place that is not given back is missed at the third.
const NARROW: &str =
    "[runtime]\nworkers = 2\nmemory_bytes = 67108864\nconcurrency_per_agent = 2\ninstances = 8\n";

#[tokio::test]
async fn every_limit_ends_the_guest_with_an_outcome_of_its_own() -> anyhow::Result<()> {
    let (mut host, mut client) = host(NARROW).await?;
    client.deploy(&real::component("hostile")).await?;
    client.deploy(&impatient("looper", "")).await?;
    let pid = host.pid();
    let behaviours = [
        ("cpu-loop", "exhausted Cpu"),
        ("memory-one", "exhausted Memory"),
        ("memory-many", "exhausted Memory"),
        ("stack", "exhausted Stack"),
        ("sleep", "exhausted Wall"),
        ("output", "exhausted OutputBytes"),
        ("failure", "exhausted OutputBytes"),
        ("handles-flood", "exhausted Handles"),
        ("put-big", "exhausted HostCallBytes"),
        ("log-big", "exhausted HostCallBytes"),
        ("calls-flood", "exhausted HostCalls"),
        ("output-not-json", "failure invalid-output"),
        ("output-deep", "failure invalid-output"),
        ("key-big", "failure invalid"),
        ("headers-flood", "failure invalid"),
        ("frames", "trap"),
        ("panic", "trap"),
        ("exit", "trap"),
        ("progress-odd", "success"),
        ("handles-churn", "success"),
        ("look-around", "success"),
    ];
    for round in 1..=3 {
        for (behaviour, expected) in behaviours {
            let request = InvokeAgentRequest {
                name: match behaviour {
                    "cpu-loop" => "agents/looper".to_owned(),
                    _ => "agents/hostile".to_owned(),
                },
                input: json!({ "do": behaviour }).to_string(),
                // Only `sleep` waits for the clock.
                timeout: (behaviour == "sleep").then_some(prost_types::Duration {
                    seconds: 0,
                    nanos: 200_000_000,
                }),
                ..InvokeAgentRequest::default()
            };
            let ended = client.invocations.invoke_agent(request).await?.into_inner();
            assert_eq!(
                ending(&ended),
                expected,
                "{behaviour}, round {round}: {ended:?}"
            );
            is_well(&mut host, &mut client).await?;
        }
    }
    assert_eq!(host.pid(), pid);
    Ok(())
}

/// The guest `hostile` with little time of the processor, and with what it may read.
fn impatient(name: &str, permission: &str) -> Vec<u8> {
    let nowhere =
        r#"http = { origin = "https://nowhere.example.com", methods = ["GET"], paths = ["/*"] }"#;
    let http = if permission.is_empty() {
        nowhere
    } else {
        permission
    };
    let manifest = format!(
        "format = 1\nname = \"{name}\"\nversion = \"0.1.0\"\nsummary = \"Floods\"\ninput = {{ type = \"object\" }}\n\
         [limits]\ncpu = \"300ms\"\n[[permission]]\n{http}\n[[permission]]\n{}\n",
        probe::memory("hostile")
    );
    real::with_manifest("hostile", &manifest)
}

#[tokio::test]
async fn floods_end_at_a_limit_too() -> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let config = format!(
        "{NARROW}[egress]\nprivate_origins = [\"{}\"]\n",
        origin.url()
    );
    let (mut host, mut client) = host(&config).await?;
    client
        .deploy(&impatient("flood", &probe::http(&origin.url())))
        .await?;
    let floods = [
        // Whichever of the two comes first on this machine.
        ("log-flood", &[Limit::Cpu, Limit::HostCalls][..]),
        ("stdout-flood", &[Limit::Cpu, Limit::HostCalls]),
        ("pending-flood", &[Limit::Handles]),
    ];
    for (behaviour, limits) in floods {
        for _ in 0..3 {
            let input = json!({ "do": behaviour, "url": format!("{}/", origin.url()) });
            let ended = client.invoke("flood", &input).await?;
            assert!(
                limit(&ended).is_some_and(|hit| limits.contains(&hit)),
                "{behaviour}: {ended:?}"
            );
            is_well(&mut host, &mut client).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn t01_looping_guests_do_not_keep_others_from_their_answers() -> anyhow::Result<()> {
    let (_host, mut client) = host("[runtime]\nworkers = 2\ncpu_ms = 1000\n").await?;
    client.deploy(&real::component("hostile")).await?;
    let enough = Arc::new(AtomicBool::new(false));
    let loopers: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, enough) = (client.clone(), Arc::clone(&enough));
            tokio::spawn(async move {
                let mut endings = Vec::new();
                // One follows the other, so that at every moment some of them compute.
                while !enough.load(Ordering::Relaxed) {
                    let ended = client
                        .invoke("hostile", &json!({ "do": "cpu-loop" }))
                        .await?;
                    endings.push(limit(&ended));
                }
                anyhow::Ok(endings)
            })
        })
        .collect();
    let mut answered = 0;
    for number in 0..200 {
        answered += usize::from(client.output("echo", &json!(number)).await? == json!(number));
    }
    enough.store(true, Ordering::Relaxed);
    for looper in loopers {
        let endings = looper.await??;
        assert!(
            endings.iter().all(|ended| *ended == Some(Limit::Cpu)),
            "{endings:?}"
        );
        assert!(!endings.is_empty());
    }
    assert_eq!(answered, 200);
    Ok(())
}

#[tokio::test]
async fn t02_what_one_guest_takes_in_memory_tables_and_instances_is_counted_together()
-> anyhow::Result<()> {
    let (mut host, mut client) = host(NARROW).await?;
    let before = host.resident_bytes()?;
    // Ends at its limit while it runs.
    let running = [
        (
            "grow",
            module(
                "17",
                "",
                "",
                &format!(
                    "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable {NULL}"
                ),
            ),
            Limit::Memory,
        ),
        (
            "touch",
            module(
                "17",
                "",
                "",
                &format!(
                    "(local $at i32) (loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (memory.fill (i32.shl (i32.sub (memory.size) (i32.const 16)) (i32.const 16)) (i32.const 1) (i32.const 1048576)) (br $l)) {NULL}"
                ),
            ),
            Limit::Memory,
        ),
        (
            "leap",
            module(
                "17",
                "",
                "",
                &format!(
                    "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)) {NULL}"
                ),
            ),
            Limit::Memory,
        ),
        (
            "table",
            module(
                "17",
                "",
                "(table $t 1 funcref)",
                &format!(
                    "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable {NULL}"
                ),
            ),
            Limit::Tables,
        ),
    ];
    for (name, module, expected) in running {
        client.deploy(&agent(name, "", &module)).await?;
        for _ in 0..3 {
            let ended = client.invoke(name, &json!({})).await?;
            assert_eq!(limit(&ended), Some(expected), "{name}: {ended:?}");
        }
    }
    // Asks for too much before it runs: refused where it is deployed.
    let many = |count: usize, item: &str| item.repeat(count);
    let instances = |module: &str, count: usize| {
        let body = many(count, "(core instance (instantiate $m))");
        let text = format!("(component (core module $m {module}) {body} {HANDLER})");
        super::guests::pack("many", "", wat::parse_str(text).unwrap())
    };
    let refused = [
        (
            "a whole address space",
            agent("many", "", &module("65536", "", "", NULL)),
        ),
        (
            "more memory than there may be",
            agent("many", "", &module("1100", "", "", NULL)),
        ),
        (
            "a table of ten million",
            agent(
                "many",
                "",
                &module("17", "", "(table 10000000 funcref)", NULL),
            ),
        ),
        (
            "tables of a hundred thousand together",
            agent(
                "many",
                "",
                &module("17", "", &many(4, "(table 30000 funcref)"), NULL),
            ),
        ),
        ("65 instances", instances("", 65)),
        ("1,000 instances", instances("", 1_000)),
        ("1,000 memories", instances("(memory 1)", 1_000)),
        ("nine memories", instances("(memory 1)", 9)),
        (
            "60 instances with tables",
            instances("(table 10000 funcref)", 60),
        ),
        (
            "300 modules",
            super::guests::pack(
                "many",
                "",
                wat::parse_str(format!(
                    "(component {} {HANDLER})",
                    many(300, "(core module)")
                ))
                .unwrap(),
            ),
        ),
    ];
    for (what, component) in refused {
        let refused = client.deploy(&component).await;
        let error = refused.err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_else(|| panic!("{what} was taken"));
        assert!(!error.contains("host failed"), "{what}: {error}");
        is_well(&mut host, &mut client).await?;
    }
    let grown = host.resident_bytes()?.saturating_sub(before);
    // One guest at a time had 64 MiB.
    assert!(
        grown < 128 << 20,
        "the host has grown by {} MiB",
        grown >> 20
    );
    Ok(())
}

/// The handler of a component that is written by hand. Its realloc and answer do not matter: what
/// it stands beside ends it first.
const HANDLER: &str = r#"
  (core module $h
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "invoke") (param i32 i32) (result i32) (i32.const 16)))
  (core instance $h (instantiate $h))
  (type $failure (record (field "code" string) (field "message" string)))
  (func $invoke (param "input" string) (result (result string (error $failure)))
    (canon lift (core func $h "invoke") (memory (core memory $h "memory")) (realloc (core func $h "realloc"))))
  (component $shim
    (type $f (record (field "code" string) (field "message" string)))
    (import "import-type-failure" (type $failure (eq $f)))
    (import "import-func-invoke" (func $invoke (param "input" string) (result (result string (error $failure)))))
    (export $exported "failure" (type $failure))
    (export "invoke" (func $invoke) (func (param "input" string) (result (result string (error $exported))))))
  (instance $handler (instantiate $shim
    (with "import-type-failure" (type $failure)) (with "import-func-invoke" (func $invoke))))
  (export "nexus:agent/handler@0.1.0" (instance $handler))"#;

#[tokio::test]
async fn t03_a_hundred_huge_strings_at_once_cost_the_host_nothing() -> anyhow::Result<()> {
    let (mut host, mut client) = host("[runtime]\nworkers = 2\n").await?;
    // 120 MiB that the guest has not even touched, offered as one log message.
    let huge = format!(
        "(call $log (i32.const 1) (i32.const 65536) (i32.const {})) {NULL}",
        119 << 20
    );
    client
        .deploy(&agent("huge", "", &module("1920", LOG, "", &huge)))
        .await?;
    // An answer that claims four gigabytes, from a guest that has one megabyte.
    let claim = "(call $ok (i32.const 1024) (i32.const -1))";
    client
        .deploy(&agent("claim", "", &module("17", "", "", claim)))
        .await?;
    let before = host.resident_bytes()?;
    let calls = (0..100).map(|number| {
        let mut client = client.clone();
        let name = if number % 4 == 3 { "claim" } else { "huge" };
        tokio::spawn(async move {
            client
                .invoke(name, &json!({}))
                .await
                .map(|ended| (name, ended))
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (name, ended) = call.await??;
        match name {
            "huge" => assert_eq!(limit(&ended), Some(Limit::HostCallBytes), "{ended:?}"),
            _ => assert!(
                matches!(ending(&ended).as_str(), "trap" | "exhausted OutputBytes"),
                "{ended:?}"
            ),
        }
    }
    let grown = host.resident_bytes()?.saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "the host has grown by {} MiB",
        grown >> 20
    );
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t04_handles_are_counted_and_come_back_when_they_are_dropped() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&real::component("hostile")).await?;
    let flood = |times: u32| json!({ "do": "handles-flood", "times": times });
    assert_eq!(client.output("hostile", &flood(1_000)).await?, json!(1_000));
    let ended = client.invoke("hostile", &flood(1_025)).await?;
    assert_eq!(limit(&ended), Some(Limit::Handles), "{ended:?}");
    // Twenty times the limit, one after the other.
    let churn = json!({ "do": "handles-churn", "times": 20_000 });
    assert_eq!(client.output("hostile", &churn).await?, json!(20_000));
    Ok(())
}
