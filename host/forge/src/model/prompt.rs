use serde_json::{Value, json};

use super::Message;
use super::schema::strict;
use super::takes::Format;
use crate::build::Diagnostic;
use crate::template::InputParameter;

const SPEC: &str = include_str!("../../prompts/spec.md");
const CODE: &str = include_str!("../../prompts/code.md");
const REPAIR: &str = include_str!("../../prompts/repair.md");
const SPEC_AGAIN: &str = include_str!("../../prompts/spec-again.md");
const SCHEMA: &str = include_str!("../../prompts/spec.schema.json");
/// The SDK's own documentation, whose examples its tests compile.
const REFERENCE: &str = include_str!("../../../../guest-sdk/API.md");

/// The words, marked as what they are, and what the input is to hold.
fn request(words: &str, inputs: &[InputParameter]) -> String {
    let mut text = format!("The request:\n<request>\n{words}\n</request>\n");
    if !inputs.is_empty() {
        text.push_str("\nThe input holds:\n");
        for input in inputs {
            let need = if input.required {
                "required"
            } else {
                "optional"
            };
            text.push_str(&format!(
                "- {}: {}, {need}\n",
                json!(input.name),
                input.kind.as_str()
            ));
        }
    }
    text
}

/// The conversation that asks for a spec.
pub(crate) fn ask_spec(words: &str, inputs: &[InputParameter]) -> Vec<Message> {
    vec![
        Message::new("system", SPEC),
        Message::new("user", request(words, inputs)),
    ]
}

/// Continues a conversation after the spec was refused.
pub(crate) fn ask_spec_again(messages: &mut Vec<Message>, answer: String, reason: &str) {
    messages.push(Message::new("assistant", answer));
    messages.push(Message::new("user", format!("{SPEC_AGAIN}{reason}\n")));
}

/// How the answer to [`ask_spec`] is to be shaped.
pub(crate) fn spec_format() -> Option<Format> {
    let schema: Value = serde_json::from_str(SCHEMA).ok()?;
    Some(Format {
        name: "spec",
        strict: strict(&schema),
        schema,
    })
}

/// The conversation that asks for code.
pub(crate) fn ask_code(words: &str, inputs: &[InputParameter], manifest: &str) -> Vec<Message> {
    let user = format!(
        "{}\nThe manifest `agent.toml`:\n```toml\n{manifest}\n```\n",
        request(words, inputs)
    );
    vec![
        Message::new("system", format!("{CODE}{REFERENCE}")),
        Message::new("user", user),
    ]
}

/// Continues a conversation after the code was refused.
pub(crate) fn ask_repair(messages: &mut Vec<Message>, code: &str, found: &[Diagnostic]) {
    let mut text = REPAIR.to_owned();
    for diagnostic in found {
        let rendered = if diagnostic.rendered.is_empty() {
            &diagnostic.message
        } else {
            &diagnostic.rendered
        };
        text.push_str(rendered);
        text.push('\n');
    }
    // Only the last attempt stays: earlier ones would lead back to themselves.
    messages.truncate(2);
    messages.push(Message::new("assistant", format!("```rust\n{code}```")));
    messages.push(Message::new("user", text));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_for_specs_is_json() {
        assert!(super::spec_format().is_some());
    }
}
