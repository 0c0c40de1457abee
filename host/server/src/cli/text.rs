//! Text for people: aligned columns, no colour, nothing that a terminal would obey.

use std::fmt::Write as _;

use prost_types::{Duration, Timestamp};

/// Makes one line of foreign text harmless: every control character and every character that
/// reorders or hides others is written as its escape.
pub(crate) fn line(text: &str) -> String {
    escape(text, false)
}

/// As [`line`], but keeps line ends and tabs, so that a text of several lines stays readable.
pub(crate) fn block(text: &str) -> String {
    escape(text, true)
}

fn escape(text: &str, lines: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' if lines => escaped.push(character),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            _ if is_harmful(character) => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Whether a terminal may obey the character, or show the text around it as something else.
pub(crate) fn is_harmful(character: char) -> bool {
    character.is_control() || nexus_gate::is_hidden(character)
}

/// Rows in aligned columns under a heading.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            rows: vec![heading.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row; its cells are escaped here.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.iter().map(|cell| line(cell)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(text, "{cell:width$}  ")?;
            }
            writeln!(formatter, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Names and values, one pair a line, the empty ones left out.
pub(crate) fn fields<const N: usize>(pairs: [(&str, String); N]) -> String {
    let width = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.len() + 1)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        if !value.is_empty() {
            let _ = writeln!(text, "{:width$} {}", format!("{name}:"), line(&value));
        }
    }
    text
}

/// A time in RFC 3339, or nothing.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    time.map(ToString::to_string).unwrap_or_default()
}

/// A duration in seconds, or nothing.
pub(crate) fn seconds(duration: Option<&Duration>) -> String {
    duration
        .and_then(|duration| std::time::Duration::try_from(*duration).ok())
        .map(|duration| format!("{:.3} s", duration.as_secs_f64()))
        .unwrap_or_default()
}

/// The word of an enum value: `STATE_TIMED_OUT` becomes `timed out`.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_lowercase()
        .replace('_', " ")
}

/// The id in a resource name: `agents/prices` becomes `prices`.
pub(crate) fn id(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, id)| id)
}

/// The resource name of an id, which may be given as a whole name already.
pub(crate) fn name(collection: &str, id: &str) -> String {
    if id
        .strip_prefix(collection)
        .is_some_and(|rest| rest.starts_with('/'))
    {
        id.to_owned()
    } else {
        format!("{collection}/{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_an_agent_wrote() {
        let hostile = "\u{1b}[2Jok\r\u{9b}31m\u{7}\u{202e}txt\u{200b}\nnext";
        assert_eq!(
            line(hostile),
            "\\u{1b}[2Jok\\r\\u{9b}31m\\u{7}\\u{202e}txt\\u{200b}\\nnext"
        );
        assert!(block(hostile).ends_with("\nnext"));
        assert!(!block(hostile).contains('\u{1b}'));
        assert!(!block(hostile).contains('\r'));
        assert_eq!(line("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn columns_are_aligned_and_cells_escaped() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["a-long-name".to_owned(), "active".to_owned()]);
        table.row(["b".to_owned(), "x\ny".to_owned()]);
        assert_eq!(
            table.to_string(),
            "NAME         STATE\na-long-name  active\nb            x\\ny\n"
        );
    }

    #[test]
    fn names_are_taken_with_and_without_their_collection() {
        assert_eq!(name("approvals", "apr-1"), "approvals/apr-1");
        assert_eq!(name("approvals", "approvals/apr-1"), "approvals/apr-1");
        assert_eq!(name("agents", "agents-of-note"), "agents/agents-of-note");
        assert_eq!(id("agents/prices"), "prices");
    }
}
