use nexus_manifest::{AgentName, Manifest, Method};
use nexus_runtime::Recorded;
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Table;

use super::{answer, schema};
use crate::selftest::Example;
use crate::template::InputParameter;

/// Examples of a model that are tried.
const MOST_EXAMPLES: usize = 4;

/// What the model says of an agent. Anything else in the answer is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    summary: String,
    tags: Option<Vec<String>>,
    input: Value,
    output: Option<Value>,
    config: Option<Map<String, Value>>,
    permissions: Vec<Value>,
    schedule: Option<Value>,
    examples: Option<Vec<SpecExample>>,
}

/// What the model says that the agent answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecExample {
    input: Value,
    output: Option<Value>,
    responses: Option<Vec<SpecResponse>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecResponse {
    method: String,
    url: String,
    status: Option<u16>,
    body: Value,
}

impl SpecExample {
    fn read(self) -> Result<Example, String> {
        let mut world = nexus_runtime::Example {
            input: self.input.to_string(),
            ..nexus_runtime::Example::default()
        };
        for response in self.responses.into_iter().flatten() {
            world.responses.push(Recorded {
                method: response
                    .method
                    .parse::<Method>()
                    .map_err(|error| format!("examples: {error}"))?,
                url: response.url,
                status: response.status.unwrap_or(200),
                content_type: "application/json".to_owned(),
                body: response.body.to_string(),
            });
        }
        Ok(Example {
            world,
            output: self.output.filter(|output| !output.is_null()),
            schema: None,
        })
    }
}

/// Makes the manifest of `agent` from a model's answer; the error says, for the
/// model too, what is wrong with it.
pub(crate) fn manifest(
    agent: &AgentName,
    answer: &str,
) -> Result<(String, Manifest, Vec<Example>), String> {
    let object = answer::object(answer).ok_or("the answer holds no JSON object")?;
    let object = schema::loosen(object)?;
    let spec: Spec = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let examples = spec.examples.into_iter().flatten().take(MOST_EXAMPLES);
    let examples: Vec<_> = examples.map(SpecExample::read).collect();
    let mut table = Table::from_iter([
        ("format".to_owned(), 1.into()),
        ("name".to_owned(), agent.as_str().into()),
        ("version".to_owned(), "0.1.0".into()),
        ("summary".to_owned(), spec.summary.into()),
        ("tags".to_owned(), spec.tags.unwrap_or_default().into()),
    ]);
    let parts = [
        ("input", Some(spec.input)),
        ("output", spec.output),
        ("config", spec.config.map(Value::Object)),
        ("permission", Some(Value::Array(spec.permissions))),
        ("schedule", spec.schedule),
    ];
    for (key, value) in parts {
        let Some(value) = value.map(without_null).filter(|value| !value.is_null()) else {
            continue;
        };
        let value = toml::Value::try_from(value).map_err(|error| format!("{key}: {error}"))?;
        table.insert(key.to_owned(), value);
    }
    let text = toml::to_string(&table).map_err(|error| error.to_string())?;
    let manifest = Manifest::parse(&text).map_err(|error| error.to_line())?;
    let examples = examples.into_iter().collect::<Result<_, _>>()?;
    Ok((text, manifest, examples))
}

/// Whether a manifest's input holds what the caller said that it does; the error is for the model.
pub(crate) fn declares(manifest: &str, inputs: &[InputParameter]) -> Result<(), String> {
    let table: Table = manifest.parse().map_err(|error| format!("{error}"))?;
    let input = table.get("input");
    let in_list = |list: Option<&toml::Value>, name: &str| match list {
        Some(toml::Value::String(one)) => one == name,
        Some(toml::Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(name)),
        _ => false,
    };
    for wanted in inputs {
        let (name, kind) = (&wanted.name, wanted.kind.as_str());
        let property = input
            .and_then(|input| input.get("properties")?.get(name))
            .ok_or_else(|| format!("input: the request wants the property {name:?}, a {kind}"))?;
        if !in_list(property.get("type"), kind) {
            return Err(format!("input: the property {name:?} has to be a {kind}"));
        }
        let required = input.and_then(|input| input.get("required"));
        if wanted.required && !in_list(required, name) {
            return Err(format!("input: the property {name:?} has to be required"));
        }
    }
    Ok(())
}

/// Models write null for what they leave out; TOML has no such value.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(key, member)| (key, without_null(member)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_null).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> AgentName {
        match "tracker".parse() {
            Ok(name) => name,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_callers_name_is_kept_and_every_value_checked() {
        let answer = r#"Of course: {"summary": "s\"]\n[x]", "input": {"type": "object"}, "output": null,
            "permissions": [{"http": {"origin": "https://a.example", "methods": ["GET"], "paths": ["/x"], "reads": null}}]}"#;
        match manifest(&name(), answer) {
            Ok((_, manifest, _)) => {
                assert_eq!(manifest.name.as_str(), "tracker");
                assert_eq!(manifest.summary, "s\"]\n[x]");
                assert_eq!(manifest.permissions.len(), 1);
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_form_of_strict_endpoints_is_read_too() {
        let answer = serde_json::json!({
            "summary": "s", "tags": null, "output_json": null, "config_json": null, "schedule": null,
            "input_json": "{\"type\": \"object\"}",
            "permissions": [{ "secret": null, "peer": null, "http": null,
                "memory": { "space": "notes", "access": "read" } }],
            "examples": [{ "input_json": "{}", "output_json": "\"x\"", "responses": null }],
        });
        match manifest(&name(), &answer.to_string()) {
            Ok((_, manifest, examples)) => {
                assert_eq!(manifest.permissions.len(), 1);
                assert_eq!(examples[0].output, Some("x".into()));
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_the_caller_said_of_the_input_has_to_be_in_it() {
        let place = InputParameter {
            name: "place".to_owned(),
            kind: crate::template::InputType::String,
            required: true,
        };
        let wants = |input: &str| declares(input, std::slice::from_ref(&place));
        let good = "[input]\nrequired = [\"place\"]\nproperties.place = { type = \"string\" }";
        assert_eq!(wants(good), Ok(()));
        for (input, told) in [
            ("", "wants the property"),
            (
                "[input]\nproperties.n = { type = \"number\" }",
                "wants the property",
            ),
            (
                "[input]\nproperties.place = { type = \"number\" }",
                "has to be a string",
            ),
            (
                "[input]\nproperties.place = { type = \"string\" }",
                "has to be required",
            ),
        ] {
            let error = wants(input).expect_err(input);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for answer in [
            "no object",
            r#"{"summary": "s", "input": {}, "permissions": [], "name": "other"}"#,
            r#"{"summary": "s", "input": {}, "permissions": [{"files": {}}]}"#,
            r#"{"summary": "s", "input": {}, "permissions": [{"http": {"origin": "a.example", "methods": ["GET"], "paths": ["/"]}}]}"#,
            r#"{"summary": "s", "input": {"type": 7}, "permissions": []}"#,
        ] {
            assert!(manifest(&name(), answer).is_err(), "{answer}");
        }
    }
}
