//! A JSON Schema as endpoints want it that hold a model to it.
//!
//! They take objects only whose members are all named and all required; what may be left out is a
//! union with null, and a value of any shape is a text that holds JSON, under a name of its own.

use serde_json::{Map, Value, json};

/// Behind the name of a member whose value is a text that holds JSON.
const AS_TEXT: &str = "_json";
/// The members that may hold anything.
const FREE: [&str; 4] = ["input", "output", "config", "body"];

/// The strict form of a schema of objects, arrays, enumerations and plain types.
pub(super) fn strict(schema: &Value) -> Value {
    let Some(properties) = schema["properties"].as_object() else {
        return match schema["items"].is_object() {
            true => json!({ "type": "array", "items": strict(&schema["items"]) }),
            false if schema["enum"].is_array() => {
                json!({ "type": "string", "enum": schema["enum"] })
            }
            false => schema.clone(),
        };
    };
    let needed = schema["required"].as_array();
    let is_needed = |name: &str| needed.is_some_and(|needed| needed.iter().any(|it| it == name));
    let mut members = Map::new();
    for (name, member) in properties {
        let (shown, shape) = match is_free(member) {
            true => {
                let said = format!("The value of `{name}`, as JSON text");
                let text = json!({ "type": "string", "description": said });
                (format!("{name}{AS_TEXT}"), text)
            }
            false => (name.clone(), strict(member)),
        };
        let shape = match is_needed(name) {
            true => shape,
            false => json!({ "anyOf": [shape, { "type": "null" }] }),
        };
        members.insert(shown, shape);
    }
    let names: Vec<&String> = members.keys().collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": names,
        "properties": members,
    })
}

/// Whether the schema leaves open what is in it.
fn is_free(schema: &Value) -> bool {
    let plain = schema["properties"].is_object() || schema["enum"].is_array();
    match schema["type"].as_str() {
        None | Some("object") => !plain,
        Some("array") => !schema["items"].is_object(),
        Some(_) => false,
    }
}

/// Puts in place of each text that holds JSON the value that it holds. The error names the member.
pub(super) fn loosen(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(members) => {
            let mut loose = Map::new();
            for (name, member) in members {
                let plain = name.strip_suffix(AS_TEXT);
                let (name, member) = match (plain, member) {
                    (Some(plain), Value::String(text)) if FREE.contains(&plain) => {
                        let held = serde_json::from_str(&text);
                        let held = held.map_err(|error| format!("{name} is no JSON: {error}"))?;
                        (plain.to_owned(), held)
                    }
                    (Some(plain), member) if FREE.contains(&plain) => (plain.to_owned(), member),
                    // What is in there is nobody's business here.
                    (_, member) if FREE.contains(&name.as_str()) => (name, member),
                    (_, member) => (name, loosen(member)?),
                };
                loose.insert(name, member);
            }
            Ok(Value::Object(loose))
        }
        Value::Array(items) => items.into_iter().map(loosen).collect(),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that an object of a strict schema has to say.
    fn check(schema: &Value) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            let names: Vec<Value> = properties.keys().cloned().map(Value::from).collect();
            assert_eq!(schema["required"], Value::from(names), "{schema}");
            for name in properties.keys() {
                let plain = name.strip_suffix(AS_TEXT);
                assert!(plain.is_none_or(|plain| FREE.contains(&plain)), "{name}");
            }
            properties.values().for_each(check);
        } else if let Some(cases) = schema["anyOf"].as_array() {
            cases.iter().for_each(check);
        } else if schema["type"] == "array" {
            check(&schema["items"]);
        } else {
            let plain = ["string", "integer", "null"];
            assert!(plain.iter().any(|it| schema["type"] == *it), "{schema}");
        }
    }

    #[test]
    fn every_member_is_named_required_and_of_a_known_shape() {
        let schema = include_str!("../../prompts/spec.schema.json");
        match serde_json::from_str(schema) {
            Ok(schema) => {
                let strict = strict(&schema);
                check(&strict);
                let members = &strict["properties"];
                assert_eq!(members["input_json"]["type"], "string");
                assert_eq!(members["schedule"]["anyOf"][1]["type"], "null");
                assert!(members["input"].is_null());
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn texts_that_hold_json_become_what_they_hold() {
        let value = json!({ "input_json": "{\"a\": 1}", "output_json": null,
            "examples": [{ "input_json": "\"x\"" }], "config": { "input_json": "{" } });
        let loose = json!({ "input": { "a": 1 }, "output": null,
            "examples": [{ "input": "x" }], "config": { "input_json": "{" } });
        assert_eq!(loosen(value), Ok(loose));
        assert!(loosen(json!({ "input_json": "{" })).is_err());
    }
}
