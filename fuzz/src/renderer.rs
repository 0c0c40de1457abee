//! What a person reads: every field is in, and nothing that a terminal would obey.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use nexus_gate::{
    Action, ActionKind, Context, EffectClass, InvocationId, Label, Payload, Principal, RootOrigin,
    escape, is_hidden, render, wrap,
};
use nexus_manifest::{Digest, Manifest};
use serde_json::{Map, Value};

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let action = action(&mut bytes);
    let policies = [bytes.text()];
    let digest = Digest::of(data);
    let rendering = render(&action, &digest, u32::from(bytes.byte()), &policies);

    let obeyed = |c: char| c != '\n' && (c.is_control() || is_hidden(c));
    assert!(!rendering.contains(obeyed), "{rendering:?}");
    for name in [
        "action: ",
        "agent: ",
        "verb: ",
        "target: ",
        "digest: ",
        "people needed: ",
    ] {
        let lines = rendering
            .lines()
            .filter(|line| line.starts_with(name))
            .count();
        assert_eq!(lines, 1, "{name}\n{rendering}");
    }
    assert!(rendering.ends_with("\nend of the agent's words\n"));
    let mut due = vec![
        action.verb.clone(),
        action.target.clone(),
        policies[0].clone(),
        digest.to_string(),
    ];
    due.extend(action.labels.iter().map(ToString::to_string));
    texts(&action.payload.fields, &mut due);
    for part in &action.payload.parts {
        due.extend([
            part.name.clone(),
            part.media_type.clone(),
            part.digest().to_string(),
        ]);
        if let Ok(text) = std::str::from_utf8(&part.bytes) {
            for line in text.split('\n') {
                assert!(
                    rendering.contains(&format!("\n  |   | {}\n", escape(line))),
                    "{line:?}\n{rendering}"
                );
            }
        }
    }
    for text in due {
        // Quoted or as it is.
        let quoted = format!("\"{}\"", escape(&text).replace('"', "\\\""));
        let found = rendering.contains(&quoted) || rendering.contains(&escape(&text));
        assert!(found, "{text:?} is not in\n{rendering}");
    }
    // Breaking its lines loses nothing, and no line of it passes for one of the host's.
    assert_eq!(wrap(&rendering, 40).replace("\n  + ", ""), rendering);
}

fn action(bytes: &mut Bytes<'_>) -> Action {
    let labels: BTreeSet<Label> = match bytes.byte() % 3 {
        0 => BTreeSet::new(),
        1 => [Label::Untrusted].into(),
        _ => [Label::Private, Label::Secret(bytes.text())].into(),
    };
    let (verb, target) = (bytes.text(), bytes.text());
    let mut fields = Map::new();
    for _ in 0..bytes.below(4) {
        fields.insert(bytes.text(), value(bytes, 3));
    }
    let mut payload = Payload::new(fields.into());
    for number in 0..bytes.below(3) {
        payload = payload.with_part(
            format!("{number}{}", bytes.text()),
            bytes.text(),
            bytes.some().to_vec(),
        );
    }
    Action {
        kind: ActionKind::Effect,
        context: context(),
        sequence: 7,
        capability: "http",
        verb,
        target,
        class: EffectClass::External,
        labels,
        payload,
    }
}

fn value(bytes: &mut Bytes<'_>, depth: usize) -> Value {
    match bytes.byte() % if depth == 0 || bytes.is_empty() { 4 } else { 6 } {
        0 => Value::Null,
        1 => (bytes.byte().is_multiple_of(2)).into(),
        2 => bytes.below(usize::MAX).into(),
        3 => bytes.text().into(),
        4 => (0..bytes.below(4))
            .map(|_| value(bytes, depth - 1))
            .collect(),
        _ => {
            let members = (0..bytes.below(4)).map(|_| (bytes.text(), value(bytes, depth - 1)));
            Value::Object(members.collect())
        }
    }
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                found.push(name.clone());
                texts(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

fn context() -> Arc<Context> {
    static CONTEXT: OnceLock<Arc<Context>> = OnceLock::new();
    Arc::clone(CONTEXT.get_or_init(|| {
        let manifest = "format = 1\nname = \"fuzzed\"\nversion = \"0.1.0\"\nsummary = \"Fuzzed\"\n";
        Arc::new(Context {
            agent: "fuzzed".parse().unwrap(),
            component: Digest::of(b"component"),
            manifest: Arc::new(Manifest::parse(manifest).unwrap()),
            principal: Principal::new("operator"),
            invocation: InvocationId::new(),
            root: RootOrigin::Interactive,
            chain: vec!["caller".parse().unwrap()],
            chain_class: EffectClass::Internal,
            reviewed: true,
            shadow: false,
            labels: BTreeSet::new(),
        })
    }))
}
