//! The published test vectors, against this encoder and against a second one in Python.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use nexus_gate::{Action, Context, Nonce, Payload, PolicyVersion, Principal};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::house::context;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn vectors() -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(folder().join("actions.json")).unwrap()).unwrap()
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn action(value: &Value) -> (Action, PolicyVersion) {
    let capability = ["http", "memory", "bus", "vault", "agents"]
        .into_iter()
        .find(|name| value["capability"] == *name)
        .unwrap();
    let mut payload = Payload::new(value["payload"]["fields"].clone());
    for part in value["payload"]["parts"].as_array().unwrap() {
        let bytes = hex::decode(part["hex"].as_str().unwrap()).unwrap();
        payload = payload.with_part(
            read::<String>(&part["name"]),
            read::<String>(&part["media_type"]),
            bytes,
        );
    }
    let context = Context {
        agent: read(&value["agent"]),
        component: read(&value["component"]),
        principal: Principal::new(read::<String>(&value["principal"])),
        invocation: read(&value["invocation"]),
        root: read(&value["origin"]),
        chain: read(&value["chain"]),
        chain_class: context().chain_class,
        reviewed: true,
        shadow: false,
        labels: BTreeSet::new(),
        manifest: context().manifest,
    };
    let action = Action {
        kind: read(&value["kind"]),
        context: Arc::new(context),
        sequence: read(&value["sequence"]),
        capability,
        verb: read(&value["verb"]),
        target: read(&value["target"]),
        class: read(&value["class"]),
        labels: read(&value["labels"]),
        payload,
    };
    (action, PolicyVersion::new(read(&value["policy"])))
}

#[test]
fn the_published_vectors_hold() {
    let vectors = vectors();
    assert!(vectors.len() >= 10);
    for vector in vectors {
        let (action, policy) = action(&vector["action"]);
        let canonical = match vector["action"]["nonce"].as_str() {
            None => action.canonical(&policy),
            Some(nonce) => {
                let bits: [u8; 16] = hex::decode(nonce).unwrap().try_into().unwrap();
                action.canonical_question(&policy, &Nonce::from_bytes(bits))
            }
        };
        let canonical = String::from_utf8(canonical.unwrap()).unwrap();
        assert_eq!(canonical, vector["canonical"], "{}", vector["name"]);
        assert_eq!(
            nexus_manifest::Digest::of(canonical.as_bytes()).to_string(),
            vector["digest"],
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn a_second_implementation_agrees() {
    let script = folder().join("recompute.py");
    let output = match Command::new("python3").arg(&script).output() {
        Ok(output) => output,
        Err(error) => panic!("this test needs python3 on the path: {error}"),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn every_field_is_in_the_digest() {
    let (original, policy) = action(&vectors()[2]["action"]);
    let digest = original.digest(&policy).unwrap();
    type Change = fn(&mut Action);
    let changes: Vec<(&str, Change)> = vec![
        ("kind", |a| a.kind = nexus_gate::ActionKind::Grant),
        ("agent", |a| {
            Arc::make_mut(&mut a.context).agent = "other".parse().unwrap()
        }),
        ("component", |a| {
            Arc::make_mut(&mut a.context).component = nexus_manifest::Digest::of(b"other");
        }),
        ("principal", |a| {
            Arc::make_mut(&mut a.context).principal = Principal::new("other")
        }),
        ("invocation", |a| {
            Arc::make_mut(&mut a.context).invocation = nexus_gate::InvocationId::new();
        }),
        ("origin", |a| {
            Arc::make_mut(&mut a.context).root = nexus_gate::RootOrigin::Mcp
        }),
        ("chain", |a| {
            Arc::make_mut(&mut a.context)
                .chain
                .push("other".parse().unwrap())
        }),
        ("sequence", |a| a.sequence += 1),
        ("capability", |a| a.capability = "memory"),
        ("verb", |a| a.verb = "PUT".to_owned()),
        ("target", |a| a.target.push('?')),
        ("class", |a| a.class = nexus_gate::EffectClass::Irreversible),
        ("labels", |a| drop(a.labels.pop_first())),
        ("context labels", |a| {
            Arc::make_mut(&mut a.context)
                .labels
                .insert(nexus_gate::Label::Secret("other".to_owned()));
        }),
        ("fields", |a| a.payload.fields["new"] = Value::Null),
        ("parts", |a| {
            a.payload = a.payload.clone().with_part("", "", "")
        }),
    ];
    for (name, change) in changes {
        let mut changed = original.clone();
        change(&mut changed);
        assert_ne!(changed.digest(&policy).unwrap(), digest, "{name}");
    }
    let other = PolicyVersion::new(nexus_manifest::Digest::of(b"other"));
    assert_ne!(original.digest(&other).unwrap(), digest, "policy");
}
