//! Examples in files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use nexus_proto::v1::{ForgeExample, RecordedEntry, RecordedResponse};
use serde::Deserialize;
use serde_json::Value;

/// One example, as people write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    input: Value,
    output: Option<Value>,
    output_schema: Option<Value>,
    #[serde(default)]
    responses: Vec<Response>,
    #[serde(default)]
    answers: BTreeMap<String, Value>,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    method: String,
    url: String,
    #[serde(default)]
    status: u32,
    #[serde(default)]
    content_type: String,
    /// A text as it is, anything else as JSON.
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    space: String,
    key: String,
    value: Value,
}

/// Reads an example from a JSON file.
pub(crate) fn read(file: &Path) -> anyhow::Result<ForgeExample> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    let example: Example = serde_json::from_str(&text)
        .with_context(|| format!("failed to read the example in {}", file.display()))?;
    let json = |value: Option<Value>| value.map(|value| value.to_string()).unwrap_or_default();
    Ok(ForgeExample {
        input: example.input.to_string(),
        output: json(example.output),
        output_schema: json(example.output_schema),
        responses: example
            .responses
            .into_iter()
            .map(|response| RecordedResponse {
                method: response.method,
                url: response.url,
                status: response.status,
                content_type: response.content_type,
                body: plain(response.body),
            })
            .collect(),
        answers: example
            .answers
            .into_iter()
            .map(|(agent, answer)| (agent, answer.to_string()))
            .collect(),
        entries: example
            .entries
            .into_iter()
            .map(|entry| RecordedEntry {
                space: entry.space,
                key: entry.key,
                value: plain(entry.value).into_bytes(),
            })
            .collect(),
    })
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
