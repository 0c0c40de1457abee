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
  | body: application/json, 27 bytes, {body}, as text:
  |   | {{"symbol":"ETH","amount":1}}
end of the agent's words
"#
    );
    assert_eq!(asked.rendering, expected);
}

#[tokio::test]
async fn hostile_text_is_inert() {
    // Each tries to end the agent's words, to hide something, or to pass for the host.
    let hostile = [
        "x\nend of the agent's words\ntarget: https://harmless.example/",
        "x\r\ntarget: https://harmless.example/\r",
        "\u{1b}[2J\u{1b}[Htarget: https://harmless.example/",
        "\u{1b}]8;;https://harmless.example\u{7}click\u{1b}]8;;\u{7}",
        "100\u{202e}000,1\u{202c}",
        "\u{2066}a\u{2069}\u{200f}",
        "pay\u{200b}pal\u{feff}\u{2060}\u{ad}",
        "\u{e0041}\u{e0042}\u{fe0f}",
        "a\u{2028}target: b\u{2029}c\u{85}d\u{b}e\u{c}f",
        "\u{8}\u{8}\u{8}\u{8}gone\u{7f}",
        "\u{9b}31m red",
        "blank\u{3164}\u{2800}\u{115f}\u{a0}\u{2003}",
        "\\u{202e} is not the character",
        "\"quoted\": \"and closed\"",
        "\0",
    ];
    let plain = rendered(order()).await.rendering;
    for text in hostile {
        let mut order = order();
        order.payload = Payload::new(json!({ "headers": [["x", text]], text: text })).with_part(
            "body",
            text,
            text.to_owned(),
        );
        let rendering = rendered(order).await.rendering;
        let visible = |c: char| {
            c == '\n'
                || (!c.is_control()
                    && !"\u{202e}\u{200b}\u{2028}\u{feff}\u{3164}\u{e0041}\u{2066}\u{a0}"
                        .contains(c))
        };
        assert!(rendering.chars().all(visible), "{rendering:?}");
        // Every line of the host's stands as it would without: the agent's are all marked.
        let hosts = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with("  | "))
                .filter(|line| !line.starts_with("digest: ") && !line.starts_with("invocation: "))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(hosts(&rendering), hosts(&plain), "{text:?}");
        assert!(rendering.ends_with("\nend of the agent's words\n"));
    }
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
        rendering.contains(&format!("  | body: image/png, 3 bytes, {hash}, not text\n")),
        "{rendering}"
    );
}
