//! What an agent of a template answers, whatever it was filled with.

use std::collections::BTreeMap;

use nexus_manifest::{Manifest, Method, SpaceName};
use nexus_runtime::Recorded;
use serde::Deserialize;
use serde_json::Value;

use crate::selftest::Example;

/// An example as a template's author writes it. A text `{config.KEY}` gives way to that member of the
/// manifest's `[config]`: to the member itself where it is all of a text, otherwise to its words.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    input: Value,
    output: Option<Value>,
    /// Parameters that change what is answered: it is not tried when one of them is set.
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    responses: Vec<Response>,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    method: String,
    url: String,
    #[serde(default)]
    status: Option<u16>,
    body: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    space: String,
    key: String,
    value: Value,
}

impl Written {
    /// The first parameter that it names and the template has not.
    pub(super) fn stranger(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        let mut names = self.unless.iter().map(String::as_str);
        names.find(|name| !has(name))
    }

    /// The example for an agent with this manifest; `None` if it says nothing of that one: a
    /// parameter on which it depends was set, or its input is another.
    pub(super) fn fill(
        &self,
        manifest: &Manifest,
        set: &BTreeMap<String, String>,
    ) -> Result<Option<Example>, String> {
        if self.unless.iter().any(|name| set.contains_key(name)) {
            return Ok(None);
        }
        let config = &Value::Object(manifest.config.clone());
        let input = filled(&self.input, config);
        let schema = manifest.input.as_ref();
        if schema.is_some_and(|schema| schema.check(&input).is_err()) {
            return Ok(None);
        }
        let mut world = nexus_runtime::Example {
            input: input.to_string(),
            ..nexus_runtime::Example::default()
        };
        for response in &self.responses {
            let method = response.method.parse::<Method>();
            world.responses.push(Recorded {
                method: method.map_err(|error| error.to_string())?,
                url: words(&response.url, config),
                status: response.status.unwrap_or(200),
                content_type: "application/json".to_owned(),
                body: filled(&response.body, config).to_string(),
            });
        }
        for entry in &self.entries {
            let space = words(&entry.space, config).parse::<SpaceName>();
            let space = space.map_err(|error| error.to_string())?;
            let value = filled(&entry.value, config).to_string();
            let key = words(&entry.key, config);
            world.entries.push((space, key, value.into_bytes()));
        }
        Ok(Some(Example {
            world,
            output: self.output.as_ref().map(|output| filled(output, config)),
            schema: None,
        }))
    }
}

const BEGIN: &str = "{config.";

fn filled(value: &Value, config: &Value) -> Value {
    match value {
        Value::String(text) => {
            let whole = text
                .strip_prefix(BEGIN)
                .and_then(|rest| rest.strip_suffix('}'));
            match whole.and_then(|key| config.get(key)) {
                Some(member) => member.clone(),
                None => Value::String(words(text, config)),
            }
        }
        Value::Array(values) => values.iter().map(|value| filled(value, config)).collect(),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, member)| (name.clone(), filled(member, config)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// A text with the words of the members that it names. What the config lacks stays as it is; what
/// comes in is not looked at again.
fn words(text: &str, config: &Value) -> String {
    let (mut left, mut whole) = (text, String::new());
    while let Some((before, rest)) = left.split_once(BEGIN) {
        let Some((key, after)) = rest.split_once('}') else {
            break;
        };
        whole.push_str(before);
        match config.get(key) {
            Some(Value::String(text)) => whole.push_str(text),
            Some(other) => whole.push_str(&other.to_string()),
            None => whole.push_str(&format!("{BEGIN}{key}}}")),
        }
        left = after;
    }
    whole + left
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_filled_in_is_taken_as_it_is() {
        let config = json!({ "a": "{config.b}", "b": 7, "list": [1] });
        for (written, expected) in [
            (json!("{config.b}"), json!(7)),
            (json!("x{config.b}y{config.a}"), json!("x7y{config.b}")),
            (json!({ "k": ["{config.list}"] }), json!({ "k": [[1]] })),
            (
                json!("{config.none} {config.b"),
                json!("{config.none} {config.b"),
            ),
        ] {
            assert_eq!(filled(&written, &config), expected, "{written}");
        }
    }
}
