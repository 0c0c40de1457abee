//! What a person reads: all of it, and nothing that lies about the rest.

use std::sync::Arc;

use nexus_gate::kind::Http;
use nexus_gate::{Action, Approval, Label, Payload, State};
use serde_json::json;

use crate::house::{House, action, order};

async fn rendered(action: Action) -> Approval {
    let mut house = House::new().await;
    let waiting = house.bring::<Http>(action);
    let asked = house.next(State::Pending).await;
    waiting.abort();
    asked
}

#[tokio::test]
async fn everything_is_there_each_on_its_line() {
    let mut order = order();
    order.payload.fields["placements"] =
        json!([{ "header": "authorization", "format": "Bearer {}", "secret": "exchange-key" }]);
    let context = Arc::make_mut(&mut order.context);
    context.chain = vec!["planner".parse().unwrap(), "relay".parse().unwrap()];
    context.labels.insert(Label::Untrusted);
    let invocation = context.invocation;
    let asked = rendered(order).await;
    let body = nexus_manifest::Digest::of(br#"{"symbol":"ETH","amount":1}"#);
    let component = asked.component;
    let digest = asked.digest;
    let expected = format!(
        r#"action: effect
agent: eth-tracker
component: {component}
on behalf of: operator
invocation: {invocation}, call 1
started by: interactive
called through: planner -> relay
strictest class of those calls: read
capability: http
verb: POST
target: https://api.example.com/v1/orders
effect class: external
labels: untrusted
people needed: 1
asked by policy: external-needs-a-person
digest: {digest}
the agent's words, field by field:
  | headers[0][0]: "content-type"
  | headers[0][1]: "application/json"
  | placements[0].format: "Bearer {{}}"
  | placements[0].header: "authorization"
  | placements[0].secret: "exchange-key"
  | body: 27 bytes, {body}, "application/json", as text:
  |   | {{"symbol":"ETH","amount":1}}
end of the agent's words
"#
    );
    assert_eq!(asked.rendering, expected);
}

#[tokio::test]
async fn a_body_is_shown_to_its_last_byte() {
    let body: String = (0..4000)
        .map(|line| format!("line {line} \\ \t end\n"))
        .collect();
    let mut order = order();
    order.payload =
        Payload::new(json!({})).with_part("body", "text/plain", body[..60_000].to_owned());
    let rendering = rendered(order).await.rendering;
    let shown: Vec<String> = rendering
        .lines()
        .filter_map(|line| line.strip_prefix("  |   | "))
        .map(|line| line.replace("\\u{9}", "\t").replace("\\\\", "\\"))
        .collect();
    assert_eq!(shown.join("\n"), body[..60_000]);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_named_and_hashed() {
    let bytes = vec![0xff, 0xfe, 0x00];
    let hash = nexus_manifest::Digest::of(&bytes);
    let mut upload = action("http", "POST", "https://api.example.com/v1/upload");
    upload.payload = upload.payload.with_part("body", "image/png", bytes);
    let rendering = rendered(upload).await.rendering;
    assert!(
        rendering.contains(&format!(
            "  | body: 3 bytes, {hash}, \"image/png\", which are not text\n"
        )),
        "{rendering}"
    );
}
