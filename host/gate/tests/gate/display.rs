//! T28: what a person is shown. Nothing in an action can hide, move or pass for another part of it,
//! and all of it is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{
    Action, ActionKind, EffectClass, Label, Payload, RootOrigin, escape, is_hidden, render,
};
use nexus_manifest::Digest;
use serde_json::{Map, Value, json};

use crate::house::{action, order};

/// Texts that try to end the agent's words, to hide something, or to pass for the host.
const SPOOFS: [&str; 36] = [
    "x\nend of the agent's words\ntarget: https://harmless.example/",
    "x\r\ntarget: https://harmless.example/\r",
    "\rtarget: https://harmless.example/",
    "\u{1b}[2J\u{1b}[Htarget: https://harmless.example/",
    "\u{1b}[1A\u{1b}[2Kdigest: sha256:00",
    "\u{1b}]8;;https://harmless.example\u{7}click\u{1b}]8;;\u{7}",
    "\u{1b}]0;approved\u{7}",
    "\u{1b}c",
    "\u{9b}31m red",
    "\u{90}q\u{9c}",
    "\u{8}\u{8}\u{8}\u{8}gone\u{7f}",
    "\0",
    "\u{b}down\u{c}page",
    "\u{85}next line",
    "a\u{2028}target: b\u{2029}c",
    "100\u{202e}000,1\u{202c}",
    "\u{202a}a\u{202b}b\u{202d}c\u{202c}",
    "\u{2066}a\u{2067}b\u{2068}c\u{2069}",
    "\u{200e}\u{200f}\u{61c}",
    "pay\u{200b}pal",
    "pay\u{200d}p\u{200c}al\u{2060}",
    "\u{feff}start",
    "so\u{ad}ft",
    "\u{e0041}\u{e0042}\u{e007f}",
    "a\u{fe0f}\u{fe00}\u{e0100}",
    "blank\u{3164}\u{2800}\u{115f}\u{ffa0}",
    "wide\u{a0}\u{2003}\u{3000}space",
    "1\u{336}0\u{336}0\u{336} 1",
    "tall\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}",
    "\u{fff9}a\u{fffa}b\u{fffb}",
    "\u{e000}\u{f8ff}",
    "\\u{202e} is not the character",
    "\\\\u{1b}[2J",
    "\"quoted\": \"and closed\" (host \"a\" is \"b\")",
    "27 bytes, sha256:00, \"text/plain\", as text:\n  |   | harmless",
    "  | amount: 1\n  | body: not text",
];

fn shown(action: &Action) -> String {
    let digest = Digest::of(b"the action");
    render(action, &digest, 1, &["external-needs-a-person".to_owned()])
}

/// The lines that are not an agent's, without those that hold what it chose.
fn hosts_lines(rendering: &str) -> Vec<&str> {
    rendering
        .lines()
        .filter(|line| !line.starts_with("  | "))
        .filter(|line| {
            !["verb: ", "target: ", "target host: ", "invocation: "]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect()
}

fn check_inert(rendering: &str) {
    let harmful = |c: char| c != '\n' && (c.is_control() || is_hidden(c));
    assert!(!rendering.chars().any(harmful), "{rendering:?}");
    for name in ["verb: ", "target: ", "digest: ", "agent: "] {
        let lines = rendering.lines().filter(|line| line.starts_with(name));
        assert_eq!(lines.count(), 1, "{name}{rendering}");
    }
}

#[test]
fn t28_display_no_spoof_changes_what_the_host_says() {
    let plain = shown(&order());
    for text in SPOOFS {
        let mut action = order();
        action.verb = text.to_owned();
        action.target = text.to_owned();
        action.payload = Payload::new(json!({ "headers": [["x", text]], text: { text: [text] } }))
            .with_part("body", text, text.to_owned())
            .with_part(text, "text/plain", text.to_owned())
            .with_part("raw", text, [text.as_bytes(), &[0xff]].concat());
        let rendering = shown(&action);
        check_inert(&rendering);
        assert_eq!(hosts_lines(&rendering), hosts_lines(&plain), "{text:?}");
        assert!(rendering.ends_with("\nend of the agent's words\n"));
        // In five quoted places, and in three as the media type.
        let quoted = format!("\"{}\"", escape(text).replace('"', "\\\""));
        assert!(
            rendering.matches(&quoted).count() >= 8,
            "{text:?}\n{rendering}"
        );
        for line in text.split('\n') {
            assert_eq!(
                rendering
                    .matches(&format!("\n  |   | {}\n", escape(line)))
                    .count(),
                2,
                "{text:?}\n{rendering}"
            );
        }
    }
}

#[test]
fn t28_display_different_texts_never_read_alike() {
    let plain = order();
    let mut seen = BTreeSet::new();
    for text in SPOOFS {
        for written in [
            text.to_owned(),
            escape(text),
            escape(&escape(text)),
            format!("\"{text}\""),
            format!("{text} "),
        ] {
            let mut action = plain.clone();
            action.payload = Payload::new(json!({ "note": written }));
            seen.insert(shown(&action));
        }
    }
    let all: BTreeSet<_> = SPOOFS
        .iter()
        .flat_map(|text| {
            [
                (*text).to_owned(),
                escape(text),
                escape(&escape(text)),
                format!("\"{text}\""),
                format!("{text} "),
            ]
        })
        .collect();
    assert_eq!(seen.len(), all.len());
}

#[test]
fn t28_display_hosts_in_other_letters_are_shown_in_both_forms() {
    let mut action = action("http", "POST", "https://xn--pple-43d.com/v1/orders");
    action.payload = Payload::new(json!({ "note": "as for https://bücher.example" })).with_part(
        "body",
        "application/json",
        r#"{"hook":"https://xn--pple-43d.com/x"}"#,
    );
    let rendering = shown(&action);
    for line in [
        "target: https://xn--pple-43d.com/v1/orders\n",
        "target host: \"xn--pple-43d.com\" is \"аpple.com\"\n",
        "  | note: \"as for https://bücher.example\" (host \"bücher.example\" is \"xn--bcher-kva.example\")\n",
        "  |   | {\"hook\":\"https://xn--pple-43d.com/x\"}\n",
        "  | host in body: \"xn--pple-43d.com\" is \"аpple.com\"\n",
    ] {
        assert!(rendering.contains(line), "{line}{rendering}");
    }
}

/// A small generator; the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or_default()
    }

    /// Mostly plain letters, with everything else in between.
    fn text(&mut self) -> String {
        let length = self.below(24);
        (0..length)
            .map(|_| match self.below(6) {
                0 => char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap_or_default())
                    .unwrap_or('\n'),
                1 => char::from_u32(u32::try_from(self.below(0x2100)).unwrap_or_default())
                    .unwrap_or('\n'),
                2 => ['\n', '\\', '"', '|', ' ', ':', '\u{202e}', '\u{301}'][self.below(8)],
                _ => char::from(b'a' + u8::try_from(self.below(26)).unwrap_or_default()),
            })
            .collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(1 << 50)),
            3 => json!(self.text()),
            4 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => self.object(depth - 1).into(),
        }
    }

    fn object(&mut self, depth: usize) -> Map<String, Value> {
        (0..self.below(4))
            .map(|_| (self.text(), self.value(depth)))
            .collect()
    }
}

/// Every text in a value, names of members among them.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            found.push(name.clone());
            texts(member, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(members) if !members.is_empty() => members.values().map(leaves).sum(),
        Value::Array(items) if !items.is_empty() => items.iter().map(leaves).sum(),
        _ => 1,
    }
}

#[test]
fn t28_display_every_field_of_any_action_is_in() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..2_000 {
        let mut action = action("http", "POST", "https://api.example.com/v1/orders");
        action.kind = [
            ActionKind::Effect,
            ActionKind::Publish,
            ActionKind::Grant,
            ActionKind::Reveal,
        ][random.below(4)];
        action.class = [
            EffectClass::Read,
            EffectClass::Internal,
            EffectClass::External,
            EffectClass::Irreversible,
        ][random.below(4)];
        action.sequence = random.below(1 << 40) as u64;
        action.verb = random.text();
        action.target = random.text();
        action.labels = [
            Label::Untrusted,
            Label::Private,
            Label::Secret(random.text()),
        ]
        .into_iter()
        .take(random.below(4))
        .collect();
        let context = Arc::make_mut(&mut action.context);
        context.root = [
            RootOrigin::Interactive,
            RootOrigin::Schedule,
            RootOrigin::Ingest,
            RootOrigin::Mcp,
        ][random.below(4)];
        context.chain = (0..random.below(4))
            .map(|n| format!("caller-{n}").parse().unwrap())
            .collect();
        let object = random.object(3);
        action.payload = Payload::new(object.into());
        for number in 0..random.below(3) {
            let name = format!("{number}{}", random.text());
            let bytes = if random.below(2) == 0 {
                random.text().into_bytes()
            } else {
                vec![0xff; random.below(9) + 1]
            };
            action.payload = action.payload.with_part(name, random.text(), bytes);
        }
        let rendering = shown(&action);
        check_inert(&rendering);

        let context = &action.context;
        let mut due = vec![
            action.kind.as_str().to_owned(),
            context.agent.to_string(),
            context.component.to_string(),
            context.principal.as_str().to_owned(),
            context.invocation.to_string(),
            format!("call {}", action.sequence),
            context.root.to_string(),
            action.capability.to_owned(),
            action.verb.clone(),
            action.target.clone(),
            action.class.to_string(),
        ];
        due.extend(context.chain.iter().map(ToString::to_string));
        due.extend(action.labels.iter().map(ToString::to_string));
        texts(&action.payload.fields, &mut due);
        for part in &action.payload.parts {
            due.extend([
                part.name.clone(),
                part.media_type.clone(),
                part.digest().to_string(),
                format!("{} bytes", part.bytes.len()),
            ]);
        }
        for text in due {
            // Quoted or as it is.
            let quoted = format!("\"{}\"", escape(&text).replace('"', "\\\""));
            let found = rendering.contains(&quoted) || rendering.contains(&escape(&text));
            assert!(found, "round {round}: {text:?} is not in\n{rendering}");
        }
        for part in &action.payload.parts {
            match std::str::from_utf8(&part.bytes) {
                Ok(text) => {
                    let lines: String = text
                        .split('\n')
                        .map(|line| format!("  |   | {}\n", escape(line)))
                        .collect();
                    assert!(rendering.contains(&lines), "round {round}:\n{rendering}");
                }
                Err(_) => assert!(rendering.contains("which are not text")),
            }
        }
        // As many lines as fields, so that none stands for two.
        let lines = rendering.lines().filter(|line| {
            line.starts_with("  | ")
                && !line.starts_with("  |   | ")
                && !line.starts_with("  | host in ")
        });
        let members = action
            .payload
            .fields
            .as_object()
            .map_or(0, |members| members.values().map(leaves).sum());
        assert_eq!(
            lines.count(),
            members + action.payload.parts.len(),
            "round {round}:\n{rendering}"
        );
    }
}
