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

/// Reads the example in a JSON file, or the list of them.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<ForgeExample>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    let examples = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text),
        false => serde_json::from_str(&text).map(|example| vec![example]),
    };
    let examples: Vec<Example> =
        examples.with_context(|| format!("failed to read the examples in {}", file.display()))?;
    Ok(examples.into_iter().map(example).collect())
}

fn example(example: Example) -> ForgeExample {
    let json = |value: Option<Value>| value.map(|value| value.to_string()).unwrap_or_default();
    ForgeExample {
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
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(text: &str) -> anyhow::Result<Vec<String>> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("examples.json");
        std::fs::write(&file, text)?;
        let read = read(&file)?;
        Ok(read.into_iter().map(|example| example.input).collect())
    }

    #[test]
    fn a_file_holds_one_example_or_a_list() {
        let one = inputs("{ \"input\": { \"a\": 1 } }").expect("an example");
        assert_eq!(one, ["{\"a\":1}"]);
        let two = inputs(" [{ \"input\": 1 }, { \"input\": null, \"output\": 2 }]");
        assert_eq!(two.expect("examples"), ["1", "null"]);
        for wrong in ["[{ \"output\": 1 }]", "{ \"input\": 1, \"more\": 2 }", "7"] {
            let error = inputs(wrong).expect_err(wrong);
            assert!(format!("{error:#}").contains("examples.json"), "{error:#}");
        }
    }
}
