//! What a person reads before deciding: complete, written by the host, and inert whatever is in it.
//!
//! Every field stands on a line of its own, the host's fields first. Text that comes from an agent is
//! marked as such, and no character in it can move, hide or reorder what stands around it: each
//! invisible or direction-changing character is written out as `\u{...}`, and a backslash as `\\`,
//! so that the rendering can be read back without doubt. Hosts in punycode are shown as they read,
//! and hosts in other letters in punycode. Terminals and the API show this one text.

mod idn;
mod text;
mod wrap;

use std::collections::BTreeSet;
use std::fmt::Write;

use nexus_manifest::Digest;
use serde_json::Value;

use crate::payload::Part;
use crate::{Action, ActionKind};

pub use text::{escape, is_hidden};
pub use wrap::wrap;

use text::quote;

/// What stands before each line of an agent's text, so that no line of it can pass for one of the host's.
const QUOTE: &str = "  | ";

/// The complete rendering of an action: what the approval of it shows, whoever asks and however.
///
/// `digest` is the action's, `required` the number of people that are asked, `policies` those that
/// decided so. The text has one line for each field, ends with a line end, and has no other control
/// character.
pub fn render(action: &Action, digest: &Digest, required: u32, policies: &[String]) -> String {
    let context = &*action.context;
    let mut out = String::new();
    line(&mut out, "action", action.kind.as_str());
    line(&mut out, "agent", &escape(context.agent.as_str()));
    line(&mut out, "component", &context.component.to_string());
    line(
        &mut out,
        "on behalf of",
        &escape(context.principal.as_str()),
    );
    line(
        &mut out,
        "invocation",
        &format!("{}, call {}", context.invocation, action.sequence),
    );
    line(&mut out, "started by", context.root.as_str());
    if !context.chain.is_empty() {
        let chain: Vec<_> = context
            .chain
            .iter()
            .map(|agent| escape(agent.as_str()))
            .collect();
        line(&mut out, "called through", &chain.join(" -> "));
        let gravest = context.chain_class.as_str();
        line(&mut out, "strictest class of those calls", gravest);
    }
    line(&mut out, "capability", &escape(action.capability));
    line(&mut out, "verb", &word(&action.verb));
    line(&mut out, "target", &word(&action.target));
    for host in idn::hosts(&action.target) {
        line(&mut out, "target host", &host);
    }
    if action.kind == ActionKind::Reveal {
        let gives = "the agent reads the secret itself, and can put it into whatever it does next";
        line(&mut out, "what it means", gives);
    }
    line(&mut out, "effect class", action.class.as_str());
    let labels: BTreeSet<String> = action
        .labels
        .iter()
        .chain(&context.labels)
        .map(|label| escape(&label.to_string()))
        .collect();
    if !labels.is_empty() {
        let labels: Vec<_> = labels.into_iter().collect();
        line(&mut out, "labels", &labels.join(", "));
    }
    line(&mut out, "people needed", &required.to_string());
    let policies: Vec<_> = policies.iter().map(|policy| escape(policy)).collect();
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

/// One of the host's lines; the value is inert already.
fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name}: {value}");
}

/// What the agent chose and a line of the host's shows: as it is if it is one plain word, else quoted.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        quote(text)
    }
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
                let path = format!("{path}{separator}{}", field_name(name));
                fields(out, &path, member);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                fields(out, &format!("{path}[{index}]"), item);
            }
        }
        Value::Object(_) if path.is_empty() => {}
        Value::String(text) => {
            let _ = write!(out, "{QUOTE}{path}: {}", quote(text));
            // Behind the closing quotation mark, where only the host writes.
            for host in idn::hosts(text) {
                let _ = write!(out, " (host {host})");
            }
            out.push('\n');
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
        quote(name)
    }
}

/// Length and digest are the host's, and so stand before the media type, which is the agent's.
fn render_part(out: &mut String, part: &Part) {
    let name = field_name(&part.name);
    let (length, digest) = (part.bytes.len(), part.digest());
    let media_type = quote(&part.media_type);
    let _ = write!(out, "{QUOTE}{name}: {length} bytes, {digest}, {media_type}");
    let Ok(text) = std::str::from_utf8(&part.bytes) else {
        let _ = writeln!(out, ", which are not text");
        return;
    };
    let _ = writeln!(out, ", as text:");
    // Splitting at the line feed alone keeps every other character visible in its line.
    for text_line in text.split('\n') {
        let _ = writeln!(out, "{QUOTE}{QUOTE}{}", escape(text_line));
    }
    for host in idn::hosts(text) {
        let _ = writeln!(out, "{QUOTE}host in {name}: {host}");
    }
}
