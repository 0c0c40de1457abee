use serde::{Deserialize, Serialize};

/// What the compiler says of a place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// The compiler's code, such as `E0308`, if it has one.
    pub code: Option<String>,
    /// One line.
    pub message: String,
    /// The line in `src/lib.rs`, from 1; 0 if it is about no line of it.
    pub line: u32,
    /// The column, from 1; 0 likewise.
    pub column: u32,
    /// The message with the source lines it is about, as the compiler would
    /// print it.
    pub rendered: String,
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// Nothing was built.
    Error,
    /// It was built in spite of it.
    Warning,
    /// An addition to another one.
    Note,
}

/// At most so many are kept,
const COUNT: usize = 50;
/// with at most so much text in all.
const BYTES: usize = 16 * 1024;
/// of which this is for saying what was left out.
const NOTE: usize = 64;
/// A single message of its own is cut here.
const MESSAGE: usize = 1024;

#[derive(Deserialize)]
struct Raw {
    message: String,
    code: Option<Code>,
    level: String,
    #[serde(default)]
    spans: Vec<Span>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    column_start: u32,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Span,
}

/// Reads the compiler's JSON lines. Errors come first; paths of this machine
/// are replaced by `hide`; what goes beyond the bounds is left out, and the last
/// diagnostic kept says so.
pub(super) fn read(stderr: &[u8], source: &str, hide: impl Fn(&str) -> String) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut other = String::new();
    for line in String::from_utf8_lossy(stderr).lines() {
        match serde_json::from_str::<Raw>(line) {
            Ok(raw) => found.extend(diagnostic(raw, source, &hide)),
            Err(_) => {
                other.push_str(line);
                other.push('\n');
            }
        }
    }
    if found.is_empty() && !other.trim().is_empty() {
        // The compiler or the linker ended before it could say it in JSON.
        let text = hide(other.trim());
        found.push(Diagnostic {
            level: Level::Error,
            code: None,
            message: cut(text.lines().next().unwrap_or_default(), MESSAGE),
            line: 0,
            column: 0,
            rendered: text,
        });
    }
    found.sort_by_key(|diagnostic| diagnostic.level);
    bound(found)
}

fn diagnostic(raw: Raw, source: &str, hide: impl Fn(&str) -> String) -> Option<Diagnostic> {
    let level = match raw.level.as_str() {
        "warning" => Level::Warning,
        "note" | "help" | "failure-note" => Level::Note,
        _ => Level::Error,
    };
    // "aborting due to 2 previous errors", "for more information, run": chatter.
    if raw.spans.is_empty() && raw.code.is_none() && chatter(&raw.message) {
        return None;
    }
    let place = raw
        .spans
        .iter()
        .find(|span| span.is_primary)
        .and_then(|span| own(span, source));
    let (line, column) = place.map_or((0, 0), |span| (span.line_start, span.column_start));
    if tells_of_files(&raw) {
        return Some(Diagnostic {
            level,
            code: raw.code.map(|code| code.code),
            message: NO_OTHER_FILE.to_owned(),
            line,
            column,
            rendered: format!("error: {NO_OTHER_FILE}\n --> {source}:{line}:{column}\n"),
        });
    }
    Some(Diagnostic {
        level,
        code: raw.code.map(|code| code.code),
        message: cut(&hide(&raw.message), MESSAGE),
        line,
        column,
        rendered: hide(raw.rendered.as_deref().unwrap_or_default()),
    })
}

/// Said of every file that a source asks for and does not get.
const NO_OTHER_FILE: &str =
    "an agent is one `src/lib.rs` and its `agent.toml`; no other file is there to be read";

/// Whether the compiler's words tell a file that is there from one that is not: it may ask whether
/// any file exists, and a source learns nothing of that.
fn tells_of_files(raw: &Raw) -> bool {
    let begins = [
        "couldn't read ",
        "could not find native static library",
        "failed to add native library",
        "failed to open ",
    ];
    begins.iter().any(|begin| raw.message.starts_with(begin))
        || raw
            .code
            .as_ref()
            .is_some_and(|code| matches!(code.code.as_str(), "E0583" | "E0584"))
}

fn chatter(message: &str) -> bool {
    message.starts_with("aborting due to")
        || message.starts_with("For more information about")
        || message.starts_with("Some errors have detailed explanations")
        || message.ends_with("warning emitted")
        || message.ends_with("warnings emitted")
}

/// The place in the source itself from which a macro elsewhere was called.
fn own<'a>(span: &'a Span, source: &str) -> Option<&'a Span> {
    let mut span = span;
    while span.file_name != source {
        span = &span.expansion.as_ref()?.span;
    }
    Some(span)
}

pub(super) fn bound(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let all = found.len();
    let mut left = BYTES - NOTE;
    let mut kept = 0;
    for diagnostic in found.iter_mut().take(COUNT) {
        if left < diagnostic.message.len() {
            break;
        }
        left -= diagnostic.message.len();
        diagnostic.rendered = cut(&diagnostic.rendered, left);
        left -= diagnostic.rendered.len();
        kept += 1;
    }
    found.truncate(kept);
    if let (true, Some(last)) = (kept < all, found.last_mut()) {
        last.rendered
            .push_str(&format!("\n{} more were left out", all - kept));
    }
    found
}

fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_reads_like_one_that_is_not() {
        let said = |message: &str, code: &str| {
            let line = serde_json::json!({
                "message": message, "code": { "code": code }, "level": "error",
                "spans": [{ "file_name": "src/lib.rs", "line_start": 2, "column_start": 9,
                    "is_primary": true, "expansion": null }],
                "rendered": format!("error: {message}\nhelp: there is /etc/other"),
            });
            read(line.to_string().as_bytes(), "src/lib.rs", str::to_owned)
        };
        let there = said(
            "couldn't read `/etc/x`: Permission denied (os error 13)",
            "",
        );
        let not = said("couldn't read `/etc/x`: No such file (os error 2)", "");
        assert_eq!(there, not);
        assert_eq!((there[0].line, there[0].column), (2, 9));
        let module = said("file not found for module `x`", "E0583");
        for one in [&there[0], &module[0]] {
            assert!(!one.rendered.contains("/etc"), "{}", one.rendered);
            assert!(one.rendered.contains("agent.toml"), "{}", one.rendered);
        }
    }

    #[test]
    fn errors_come_first_and_are_placed_where_the_macro_was_called() {
        let lines = concat!(
            r#"{"message":"unused","code":null,"level":"warning","spans":[],"rendered":"w"}"#,
            "\n",
            r#"{"message":"in /secret/dir","code":{"code":"E1"},"level":"error","spans":[{"file_name":"sdk.rs","line_start":9,"column_start":9,"is_primary":true,"expansion":{"span":{"file_name":"src/lib.rs","line_start":3,"column_start":5,"is_primary":false,"expansion":null}}}],"rendered":"at /secret/dir"}"#,
            "\n",
            r#"{"message":"aborting due to 1 previous error","code":null,"level":"error","spans":[],"rendered":"x"}"#,
        );
        let found = read(lines.as_bytes(), "src/lib.rs", |text| {
            text.replace("/secret/dir", "/agent")
        });
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].column), (3, 5));
        assert_eq!(found[0].message, "in /agent");
        assert_eq!(found[0].rendered, "at /agent");
        assert_eq!(found[1].level, Level::Warning);
    }

    #[test]
    fn a_flood_is_bounded() {
        let line = format!(
            r#"{{"message":"m","code":null,"level":"error","spans":[],"rendered":"{}"}}"#,
            "é".repeat(3000)
        );
        let found = read(
            [line.as_str(); 400].join("\n").as_bytes(),
            "src/lib.rs",
            str::to_owned,
        );
        let bytes: usize = found
            .iter()
            .map(|d| d.message.len() + d.rendered.len())
            .sum();
        assert!(
            found.len() <= COUNT && bytes <= BYTES,
            "{} {bytes}",
            found.len()
        );
        assert!(
            found
                .last()
                .is_some_and(|last| last.rendered.ends_with("more were left out"))
        );
    }

    #[test]
    fn what_is_no_json_is_one_error() {
        let found = read(
            b"thread 'rustc' panicked\nat x",
            "src/lib.rs",
            str::to_owned,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "thread 'rustc' panicked");
    }
}
