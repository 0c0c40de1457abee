//! Where data goes: stdout, as text or as JSON.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::{
    json::{self, Named},
    text,
};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people
    #[default]
    Text,
    /// ProtoJSON for programs; one object a line where data comes as a stream
    Json,
}

/// Writes data to stdout in the format that was asked for, and words to stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One message. The text has to be escaped already.
    pub(crate) fn message<M: Named>(
        &self,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Text => self.text(&text(message)),
            Format::Json => self.json(&json::value(message)?),
        }
    }

    /// One message of a stream: one line of JSON.
    pub(crate) fn next<M: Named>(
        &self,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Text => self.text(&text(message)),
            Format::Json => self.json_line(&json::value(message)?),
        }
    }

    /// All messages of a list, as `{"<key>": [..]}`.
    pub(crate) fn list<M: Named>(
        &self,
        key: &str,
        messages: &[M],
        text: impl FnOnce(&[M]) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Text => self.text(&text(messages)),
            Format::Json => {
                let items = messages
                    .iter()
                    .map(json::value)
                    .collect::<anyhow::Result<Vec<_>>>()?;
                self.json(&json!({ key: items }))
            }
        }
    }

    /// Something that was removed: there is nothing to show but its name.
    pub(crate) fn removed(&self, name: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Text => {
                self.note(&format!("removed {name}"));
                Ok(())
            }
            Format::Json => self.json(&json!({ "name": name })),
        }
    }

    /// JSON of the command's own making.
    pub(crate) fn json(&self, value: &Json) -> anyhow::Result<()> {
        write_out(&(harmless(&format!("{value:#}")) + "\n"))
    }

    /// JSON of the command's own making, on one line.
    pub(crate) fn json_line(&self, value: &Json) -> anyhow::Result<()> {
        write_out(&(harmless(&value.to_string()) + "\n"))
    }

    /// Text that is escaped already.
    pub(crate) fn text(&self, text: &str) -> anyhow::Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        write_out(&format!("{text}{end}"))
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        write_bytes(bytes)
    }

    /// A line for people, on stderr.
    pub(crate) fn note(&self, text: &str) {
        note(text);
    }
}

/// JSON text in which no character is left that a terminal would obey. They can only stand inside
/// of strings, where their escape means the same.
pub(crate) fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, '\n' | '\t') || !text::is_harmful(character) {
            safe.push(character);
        } else if character == '\r' {
            safe.push('\n');
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

/// Writes a line to stderr. A stderr that is gone is nobody's concern.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a part of a line to stderr.
pub(crate) fn part(text: &str) {
    let _ = write!(io::stderr().lock(), "{text}");
}

fn write_out(text: &str) -> anyhow::Result<()> {
    write_bytes(text.as_bytes())
}

fn write_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_json_says_the_same() {
        let value = json!({ "text": "a\u{9b}31m\u{202e}b\u{7f}\u{e0041}\u{1b}" });
        let safe = harmless(&value.to_string());
        assert!(!safe.chars().any(text::is_harmful), "{safe}");
        let back: Json = serde_json::from_str(&safe).expect("still JSON");
        assert_eq!(back, value);
    }
}
