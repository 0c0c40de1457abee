//! The guest `probe`: components that may do what a test says, and the steps that they take.

use serde_json::{Value, json};

/// A permission of each kind, as the guest imports every capability. None of them leads anywhere.
const NOWHERE: [&str; 4] = [
    r#"http = { origin = "https://nowhere.example.com", methods = ["GET"], paths = ["/*"] }"#,
    r#"secret = { name = "nothing", audience = ["https://nowhere.example.com"] }"#,
    r#"memory = { space = "nothing", access = "read" }"#,
    r#"peer = { agent = "nobody" }"#,
];

/// A manifest of the guest with these permissions, each an entry such as `peer = { agent = "callee" }`;
/// of every kind that is not among them, one that leads nowhere.
pub fn manifest(name: &str, permissions: &[&str]) -> String {
    let kind = |permission: &str| permission.split(' ').next().unwrap_or_default().to_owned();
    let missing = NOWHERE
        .iter()
        .filter(|nowhere| !permissions.iter().any(|given| kind(given) == kind(nowhere)));
    let all: Vec<&str> = permissions.iter().chain(missing).copied().collect();
    bare_manifest(name, &all)
}

/// A manifest of the guest with these permissions and no others.
pub fn bare_manifest(name: &str, permissions: &[&str]) -> String {
    let mut text = format!(
        "format = 1\nname = \"{name}\"\nversion = \"0.1.0\"\nsummary = \"Calls any function\"\n\
         tags = [\"test\"]\ninput = {{ type = \"array\" }}\nconfig = {{ colour = \"green\" }}\n"
    );
    for permission in permissions {
        text.push_str("[[permission]]\n");
        text.push_str(permission);
        text.push('\n');
    }
    text
}

/// The guest under another name, with these permissions.
pub fn component(name: &str, permissions: &[&str]) -> Vec<u8> {
    crate::guests::with_manifest("probe", &manifest(name, permissions))
}

/// The permission to ask an origin for everything.
pub fn http(origin: &str) -> String {
    format!(
        r#"http = {{ origin = "{origin}", methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"], paths = ["/*"] }}"#
    )
}

/// The permission to have a secret sent to these origins.
pub fn secret(name: &str, audience: &[&str]) -> String {
    format!("secret = {{ name = \"{name}\", audience = {audience:?} }}")
}

/// The permission to ask for a secret itself, for guests that can.
pub fn revealed(name: &str, audience: &[&str]) -> String {
    format!("secret = {{ name = \"{name}\", audience = {audience:?}, reveal = true }}")
}

/// The permission to read and write a space.
pub fn memory(space: &str) -> String {
    format!("memory = {{ space = \"{space}\", access = \"read-write\" }}")
}

/// The permission to call an agent.
pub fn peer(agent: &str) -> String {
    format!("peer = {{ agent = \"{agent}\" }}")
}

/// The steps that put one request together and send it: handles `o`, `r` and `p`, made distinct by
/// `name`. `parts` are steps on the request, without their `on`.
pub fn sending(
    name: &str,
    origin: &str,
    method: &str,
    target: &str,
    parts: &[Value],
) -> Vec<Value> {
    let on = |handle: &str| format!("{handle}{name}");
    let mut steps = vec![
        json!({ "call": "http.origin.open", "url": origin, "as": on("o") }),
        json!({ "call": "http.origin.request", "on": on("o"), "method": method, "target": target, "as": on("r") }),
    ];
    steps.extend(parts.iter().map(|part| {
        let mut part = part.clone();
        part["on"] = on("r").into();
        part
    }));
    steps.push(json!({ "call": "http.request.send", "on": on("r"), "as": on("p") }));
    steps
}

/// Waits for the response to what [`sending`] sent under this name.
pub fn waiting(name: &str) -> Value {
    json!({ "call": "http.pending.wait", "on": format!("p{name}") })
}

/// One request from open to response.
pub fn exchange(origin: &str, method: &str, target: &str, parts: &[Value]) -> Vec<Value> {
    let mut steps = sending("", origin, method, target, parts);
    steps.push(waiting(""));
    steps
}

/// A POST of JSON, from open to response.
pub fn post(origin: &str, target: &str, body: &Value) -> Vec<Value> {
    let parts = [
        json!({ "call": "http.request.header", "name": "content-type", "value": "application/json" }),
        json!({ "call": "http.request.body", "value": body.to_string() }),
    ];
    exchange(origin, "post", target, &parts)
}
