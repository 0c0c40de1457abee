//! Fetches a JSON document and reshapes it. What, from where and into which shape is in `[config]`.

use std::collections::BTreeMap;

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    origin: String,
    path: String,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    query: BTreeMap<String, Value>,
    #[serde(default)]
    items: String,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

export!(invoke);

fn invoke(input: BTreeMap<String, Value>) -> Result<Value> {
    let config: Config = config::get()?;
    let document: Value = request(&config, &input)?
        .header("accept", "application/json")
        .send()?
        .json()?;
    if config.items.is_empty() {
        return Ok(reshape(document, &config.fields));
    }
    match document.pointer(&config.items) {
        Some(Value::Array(items)) => {
            log::info!("{} items", items.len());
            Ok(items
                .iter()
                .map(|item| reshape(item.clone(), &config.fields))
                .collect())
        }
        _ => fail!("no-items", "the document has no list at {}", config.items),
    }
}

fn request(config: &Config, input: &BTreeMap<String, Value>) -> Result<http::RequestBuilder> {
    let mut request = http::request(
        http::Method::Get,
        format!("{}{}", config.origin, config.path),
    );
    for (name, value) in &config.query {
        request = request.query(name, text(value));
    }
    for (name, value) in input {
        ensure!(
            !config.inputs.is_empty(),
            "bad-input",
            "this agent takes no input, and got {name}"
        );
        ensure!(
            config.inputs.contains(name),
            "bad-input",
            "{name} is not one of {}",
            config.inputs.join(", ")
        );
        request = request.query(name, text(value));
    }
    Ok(request)
}

/// The members that `fields` names; what the document lacks becomes null.
fn reshape(document: Value, fields: &BTreeMap<String, String>) -> Value {
    if fields.is_empty() {
        return document;
    }
    let members = fields.iter().map(|(name, pointer)| {
        let value = document.pointer(pointer).cloned().unwrap_or_default();
        (name.clone(), value)
    });
    Value::Object(members.collect())
}

/// A string without its quotes, anything else as JSON.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
