//! What the guide's forge makes of a name, a description and parameters without a model: a skill that
//! checks what it is told, and is there to be filled.

use toml::{Table, Value};

use super::words::Create;

/// Takes what its schema lets in, and answers with it.
pub(super) const SOURCE: &str = "\
//! A skeleton: the host checks the input against the parameters, and this answers with it.

use nexus_agent::prelude::*;

export!(invoke);

fn invoke(input: Value) -> Result<Value> {
    Ok(input)
}
";

/// Its manifest: no permission, and the parameters as the schema of its input.
pub(super) fn manifest(agent: &str, request: &Create) -> String {
    let properties: Table = request
        .params
        .iter()
        .map(|param| {
            let schema = Table::from_iter([("type".to_owned(), param.schema().into())]);
            (param.name.clone(), Value::Table(schema))
        })
        .collect();
    let required: Vec<Value> = request
        .params
        .iter()
        .filter(|param| param.required)
        .map(|param| param.name.clone().into())
        .collect();
    let mut input = Table::from_iter([("type".to_owned(), "object".into())]);
    if !properties.is_empty() {
        input.insert("additionalProperties".to_owned(), false.into());
        input.insert("properties".to_owned(), properties.into());
        input.insert("required".to_owned(), required.into());
    }
    let summary = match request.description.trim() {
        "" => request.name.as_str(),
        words => &words[..words.floor_char_boundary(1_024)],
    };
    let manifest = Table::from_iter([
        ("format".to_owned(), 1.into()),
        ("name".to_owned(), agent.into()),
        ("version".to_owned(), "0.1.0".into()),
        ("summary".to_owned(), summary.into()),
        ("input".to_owned(), input.into()),
    ]);
    manifest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_one_whatever_the_words_are() {
        for description in ["", "two\nlines and \"quotes\"", "'''", &"x".repeat(3_000)] {
            let request = serde_json::from_value(serde_json::json!({
                "name": "my_skill",
                "description": description,
                "params": [{ "name": "a b", "type": "string", "required": true }, { "name": "n", "type": "number" }],
            }));
            let text = manifest("my-skill", &request.expect("a request"));
            let manifest = nexus_manifest::Manifest::parse(&text).expect(&text);
            assert_eq!(manifest.name.as_str(), "my-skill");
            assert!(manifest.permissions.is_empty());
        }
    }
}
