//! The promise to agents that were built once: what they import stays as it was, and they run.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

mod contract;
mod later_host;

use nexus_tests::{Host, component, guests::root, probe};
use serde_json::json;

/// The versions that were published, each with a frozen WIT and an agent.
const PUBLISHED: &[&str] = &["0.1.0"];

fn agent(version: &str) -> Vec<u8> {
    std::fs::read(root().join(format!("tests/golden/agent-{version}.wasm"))).unwrap()
}

#[test]
fn every_published_version_is_kept() {
    let entries = std::fs::read_dir(root().join("wit/compat")).unwrap();
    let mut frozen: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    frozen.sort();
    assert_eq!(frozen, PUBLISHED);
    for version in PUBLISHED {
        assert!(agent(version).len() < 200 << 10, "{version}");
    }
}

#[test]
fn the_contract_of_today_only_adds_to_every_published_one() {
    let today = contract::read(&root().join("wit"));
    for version in PUBLISHED {
        let frozen = contract::read(&root().join("wit/compat").join(version));
        assert_eq!(
            contract::broken(&frozen, &today),
            Vec::<String>::new(),
            "since {version}"
        );
        // What an agent has to export can't grow.
        assert_eq!(frozen.exports, today.exports);
    }
}

#[test]
fn the_later_contract_of_these_tests_adds_to_each_interface_with_functions() {
    let frozen = contract::read(&root().join("wit/compat/0.1.0"));
    let later = contract::read(&root().join("tests/golden/wit-0.1.1"));
    assert_eq!(contract::broken(&frozen, &later), Vec::<String>::new());
    let added: Vec<_> = later
        .items
        .keys()
        .filter(|item| !frozen.items.contains_key(*item))
        .collect();
    assert_eq!(added.len(), 6, "{added:?}");
    // The check finds what it is there to find.
    assert_eq!(contract::broken(&later, &frozen).len(), added.len());
}

#[tokio::test]
async fn this_host_runs_every_golden_agent() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    for version in PUBLISHED {
        let manifest = probe::manifest("golden", &[&probe::memory("kept")]);
        let packed = component::with_manifest(&agent(version), &manifest);
        client.deploy(&packed).await?;
        let steps = json!([
            { "call": "config.get" },
            { "call": "log.write", "level": "info", "value": "still here" },
            { "call": "memory.space.open", "name": "kept", "access": "read-write", "as": "s" },
            { "call": "memory.space.put", "on": "s", "key": "k", "value": version },
            { "call": "memory.space.get", "on": "s", "key": "k" },
            { "call": "bus.peers" },
            { "call": "http.origin.open", "url": "https://elsewhere.example.com", "as": "o" },
        ]);
        let results = client.output("golden", &steps).await?;
        let results = results.as_array().unwrap();
        assert_eq!(results[0]["ok"], "{\"colour\":\"green\"}");
        assert_eq!(results[4]["ok"]["value"], *version);
        assert!(results[5].get("ok").is_some(), "{results:?}");
        // A refusal keeps its name, too.
        assert_eq!(results[6]["error"], "forbidden");
        assert!(
            results[..6].iter().all(|result| result.get("ok").is_some()),
            "{results:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_later_agent_that_uses_nothing_new_runs_on_this_host() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    // The same agent, as a toolchain of 0.1.1 would name its imports; lengths stay the same.
    let later = renamed(&agent("0.1.0"), b"@0.1.0", b"@0.1.1");
    client
        .deploy(&component::with_manifest(
            &later,
            &probe::manifest("later", &[]),
        ))
        .await?;
    let results = client
        .output("later", &json!([{ "call": "config.get" }]))
        .await?;
    assert_eq!(results[0]["ok"], "{\"colour\":\"green\"}");
    // And of another line of versions it is refused, with the reason.
    let other = renamed(&agent("0.1.0"), b"@0.1.0", b"@0.2.0");
    let other = component::with_manifest(&other, &probe::manifest("other", &[]));
    let status = client.upload(&other, Default::default()).await.unwrap_err();
    assert!(
        status.message().contains("version 0.1 of nexus:agent"),
        "{status}"
    );
    Ok(())
}

fn renamed(component: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let name = b"nexus:agent/";
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        let begins = bytes[..at]
            .iter()
            .rposition(|byte| !byte.is_ascii_graphic())
            .map_or(0, |before| before + 1);
        if bytes[at..].starts_with(from)
            && bytes[begins..at]
                .windows(name.len())
                .any(|part| part == name)
        {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        at += 1;
    }
    bytes
}
