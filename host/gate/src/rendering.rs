//! What a person reads before deciding: complete, written by the host, and inert whatever is in it.
//!
//! Every field stands on a line of its own, the host's fields first. Text that comes from an agent is
//! marked as such, and no character in it can move, hide or reorder what stands around it: each
//! invisible or direction-changing character is written out as `\u{...}`, and a backslash as `\\`,
//! so that the rendering can be read back without doubt.

use std::fmt::Write;

use nexus_manifest::Digest;
use serde_json::Value;

use crate::payload::Part;
use crate::{Action, ActionKind, Label};

/// What stands before each line of an agent's text, so that no line of it can pass for one of the host's.
const QUOTE: &str = "  | ";

/// The complete rendering of an action.
pub(crate) fn render(
    action: &Action,
    digest: &Digest,
    required: u32,
    policies: &[String],
) -> String {
    let context = &*action.context;
    let mut out = String::new();
    line(&mut out, "action", action.kind.as_str());
    line(&mut out, "agent", context.agent.as_str());
    line(&mut out, "component", &context.component.to_string());
    line(&mut out, "on behalf of", context.principal.as_str());
    line(
        &mut out,
        "invocation",
        &format!("{}, call {}", context.invocation, action.sequence),
    );
    line(&mut out, "started by", context.root.as_str());
    if !context.chain.is_empty() {
        let chain: Vec<&str> = context.chain.iter().map(|agent| agent.as_str()).collect();
        line(&mut out, "called through", &chain.join(" -> "));
    }
    line(&mut out, "capability", action.capability);
    line(&mut out, "verb", &action.verb);
    line(&mut out, "target", &action.target);
    line(&mut out, "effect class", action.class.as_str());
    let labels: std::collections::BTreeSet<String> = action
        .labels
        .iter()
        .chain(&context.labels)
        .map(Label::to_string)
        .collect();
    if !labels.is_empty() {
        line(
            &mut out,
            "labels",
            &labels.into_iter().collect::<Vec<_>>().join(", "),
        );
    }
    line(&mut out, "people needed", &required.to_string());
    line(&mut out, "asked by policy", &policies.join(", "));
    line(&mut out, "digest", &digest.to_string());
    let (begin, end) = quoted_by(action.kind);
    let _ = writeln!(out, "{begin}:");
    fields(&mut out, "", &action.payload.fields);
    for part in &action.payload.parts {
        render_part(&mut out, part);
    }
    let _ = writeln!(out, "{end}");
    out
}

/// Whose words the payload holds: an effect's are the agent's own. A publication's are what the host
/// found in the component, apart from how its author describes it.
fn quoted_by(kind: ActionKind) -> (&'static str, &'static str) {
    match kind {
        ActionKind::Publish => (
            "what the component asks for, as the host read it (summary and version are its author's words)",
            "end of what the component asks for",
        ),
        _ => (
            "the agent's words, field by field",
            "end of the agent's words",
        ),
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name}: {}", escape(value));
}

/// One line per leaf, with the path that leads to it.
fn fields(out: &mut String, path: &str, value: &Value) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            // By name: the same action reads the same, however its fields were put together.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            for (name, member) in members {
                let separator = if path.is_empty() { "" } else { "." };
                fields(
                    out,
                    &format!("{path}{separator}{}", field_name(name)),
                    member,
                );
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                fields(out, &format!("{path}[{index}]"), item);
            }
        }
        Value::Object(_) if path.is_empty() => {}
        Value::String(text) => {
            let _ = writeln!(out, "{QUOTE}{path}: \"{}\"", escape_quoted(text));
        }
        leaf => {
            let _ = writeln!(out, "{QUOTE}{path}: {leaf}");
        }
    }
}

/// A member's name; quoted if it could be taken for a path or a value.
fn field_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", escape_quoted(name))
    }
}

fn render_part(out: &mut String, part: &Part) {
    let name = field_name(&part.name);
    let media_type = escape(&part.media_type);
    let length = part.bytes.len();
    let digest = part.digest();
    match std::str::from_utf8(&part.bytes) {
        Ok(text) => {
            let _ = writeln!(
                out,
                "{QUOTE}{name}: {media_type}, {length} bytes, {digest}, as text:"
            );
            // Splitting at the line feed alone keeps every other character visible in its line.
            for text_line in text.split('\n') {
                let _ = writeln!(out, "{QUOTE}{QUOTE}{}", escape(text_line));
            }
        }
        Err(_) => {
            let _ = writeln!(
                out,
                "{QUOTE}{name}: {media_type}, {length} bytes, {digest}, not text"
            );
        }
    }
}

/// The text with every character that would not show as itself written out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            c if hidden(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// The same within quotation marks.
fn escape_quoted(text: &str) -> String {
    escape(text).replace('"', "\\\"")
}

/// Characters that are invisible, move the cursor, change direction, or pass for a plain space.
fn hidden(c: char) -> bool {
    matches!(c,
        // Controls, among them escape, tab, carriage return and the C1 set.
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Spaces that are not the space, and the soft hyphen.
        | '\u{a0}' | '\u{ad}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
        // Zero-width characters, direction marks, embeddings, overrides and isolates.
        | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        // Letters and symbols without ink.
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}'
        // Arabic and other format characters, annotations, musical and shorthand controls.
        | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        // Variation selectors, tags, specials, private use and noncharacters.
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}' | '\u{fff0}'..='\u{fffc}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_show_is_written_out() {
        assert_eq!(
            escape("pay \u{202e}001\u{202c}"),
            "pay \\u{202e}001\\u{202c}"
        );
        assert_eq!(escape("a\u{1b}[2Jb\r\tc"), "a\\u{1b}[2Jb\\u{d}\\u{9}c");
        assert_eq!(escape("ze\u{200b}ro\u{feff}"), "ze\\u{200b}ro\\u{feff}");
        assert_eq!(escape("\\u{202e}"), "\\\\u{202e}");
        assert_eq!(escape("plain, grüße, 価格 €"), "plain, grüße, 価格 €");
    }

    #[test]
    fn escaping_can_be_read_back() {
        // Two different texts never render alike: decoding gives the text again.
        let decode = |text: &str| {
            let mut out = String::new();
            let mut rest = text;
            while let Some(at) = rest.find('\\') {
                out.push_str(&rest[..at]);
                rest = &rest[at + 1..];
                if let Some(tail) = rest.strip_prefix("u{") {
                    let end = tail.find('}').expect("an escape is closed");
                    let code = u32::from_str_radix(&tail[..end], 16).expect("hex digits");
                    out.push(char::from_u32(code).expect("a character"));
                    rest = &tail[end + 1..];
                } else {
                    out.push('\\');
                    rest = rest.strip_prefix('\\').expect("a doubled backslash");
                }
            }
            out.push_str(rest);
            out
        };
        for code in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = format!("\\{code}x\\u{{{code}}}");
            assert_eq!(decode(&escape(&text)), text);
        }
    }
}
