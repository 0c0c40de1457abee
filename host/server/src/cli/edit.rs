//! An edited action as a person writes it: JSON with what is to be replaced.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_gate::escape;
use nexus_manifest::Digest;
use nexus_proto::v1::{Approval, Edit, PayloadPart};
use serde::Deserialize;
use serde_json::Value;

/// `{"target": "...", "parts": {"body": "..."}}`; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    verb: String,
    #[serde(default)]
    target: String,
    fields: Option<Value>,
    parts: Option<BTreeMap<String, Bytes>>,
}

/// Text, or bytes that are none.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a part is a text, JSON included, or {\"base64\": \"...\"}"
)]
enum Bytes {
    Text(String),
    Encoded { base64: String },
}

/// Reads an edit from a file, or from standard input if that is `-`.
pub(super) fn read(file: &str, approval: &Approval) -> anyhow::Result<Edit> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("failed to read the edit from standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("failed to read {file}"))?;
    }
    parse(&text, approval).with_context(|| {
        format!(
            "{file} is no edit; write JSON with any of \"verb\", \"target\", \"fields\" and \
             \"parts\": {{\"body\": \"...\"}}"
        )
    })
}

fn parse(text: &str, approval: &Approval) -> anyhow::Result<Edit> {
    let written: Written = serde_json::from_str(text)?;
    let before = approval.payload.as_ref().map(|payload| &payload.parts[..]);
    let replace_parts = written.parts.is_some();
    let mut parts = Vec::new();
    for (name, bytes) in written.parts.unwrap_or_default() {
        let media_type = before
            .unwrap_or_default()
            .iter()
            .find(|part| part.name == name)
            .map_or("application/octet-stream", |part| &part.media_type);
        parts.push(PayloadPart {
            media_type: media_type.to_owned(),
            data: match bytes {
                Bytes::Text(text) => text.into_bytes(),
                Bytes::Encoded { base64 } => STANDARD
                    .decode(&base64)
                    .with_context(|| format!("the part {name} is not base64"))?,
            },
            name,
        });
    }
    Ok(Edit {
        verb: written.verb,
        target: written.target,
        fields: written
            .fields
            .map(|fields| fields.to_string())
            .unwrap_or_default(),
        parts,
        replace_parts,
    })
}

/// What an edit puts in the place of what was asked for, for the person who is about to say yes to it.
/// Nothing is cut, and what does not print is made visible.
pub(super) fn shown(edit: &Edit) -> String {
    let mut text = "in its place:\n".to_owned();
    let mut member = |name: &str, value: &str| {
        for line in value.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name}: {}", escape(line));
        }
    };
    for (name, value) in [
        ("verb", &edit.verb),
        ("target", &edit.target),
        ("fields", &edit.fields),
    ] {
        member(name, value);
    }
    if edit.replace_parts && edit.parts.is_empty() {
        member("parts", "none");
    }
    for part in &edit.parts {
        let name = format!("{} ({})", escape(&part.name), escape(&part.media_type));
        match std::str::from_utf8(&part.data) {
            Ok("") => member(&name, "empty"),
            Ok(words) => member(&name, words),
            Err(_) => {
                let (length, digest) = (part.data.len(), Digest::of(&part.data));
                member(&name, &format!("{length} bytes, {digest}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_replaced_and_the_rest_stays() {
        let part = PayloadPart {
            name: "body".to_owned(),
            media_type: "application/json".to_owned(),
            data: b"{}".to_vec(),
        };
        let approval = Approval {
            payload: Some(nexus_proto::v1::Payload {
                fields: "{}".to_owned(),
                parts: vec![part.clone()],
            }),
            ..Approval::default()
        };
        let edit = parse(r#"{"parts": {"body": "[1]"}}"#, &approval).expect("an edit");
        assert!(edit.replace_parts && edit.target.is_empty() && edit.fields.is_empty());
        assert_eq!(edit.parts[0].data, b"[1]");
        assert_eq!(edit.parts[0].media_type, part.media_type);
        let edit = parse(r#"{"target": "https://a/b"}"#, &approval).expect("an edit");
        assert!(!edit.replace_parts);
        let edit = parse(r#"{"parts": {"body": {"base64": "AP8="}}}"#, &approval).expect("bytes");
        assert_eq!(edit.parts[0].data, [0, 255]);
        for wrong in [
            "",
            "[]",
            r#"{"body": "x"}"#,
            r#"{"parts": {"body": {"base64": "?"}}}"#,
        ] {
            assert!(parse(wrong, &approval).is_err(), "{wrong}");
        }
        let json = parse(r#"{"parts": {"body": {"q": 1}}}"#, &approval).expect_err("no text");
        assert!(json.to_string().contains("a part is a text"), "{json}");
    }

    #[test]
    fn what_an_edit_makes_of_it_is_shown_whole() {
        let edit = Edit {
            target: "https://a.example/\u{202e}b".to_owned(),
            parts: vec![
                PayloadPart {
                    name: "body".to_owned(),
                    media_type: "application/json".to_owned(),
                    data: b"{\"q\":\n999}\x1b[2J".to_vec(),
                },
                PayloadPart {
                    name: "file".to_owned(),
                    media_type: "image/png".to_owned(),
                    data: vec![0xff; 300],
                },
            ],
            replace_parts: true,
            ..Edit::default()
        };
        let shown = shown(&edit);
        for words in [
            "body (application/json): {",
            "): 999}",
            "file (image/png): 300 bytes, sha256:",
        ] {
            assert!(shown.contains(words), "{shown}");
        }
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        assert!(!shown.contains("verb"), "what is not named stays: {shown}");
    }
}
