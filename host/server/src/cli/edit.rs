//! An edited action as a person writes it: JSON with what is to be replaced.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
#[serde(untagged)]
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
    }
}
