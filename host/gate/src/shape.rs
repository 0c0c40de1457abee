//! Whether a policy's text can be parsed without exhausting the stack.
//!
//! The parser and the validator of the policy engine call themselves for each level of an expression,
//! and the host's process would end where its stack does. What nests deeper than people write is
//! therefore refused before it is parsed.

/// The most brackets of every kind around one place.
const BRACKETS: usize = 32;
/// The most conditions (`if`) and operators (`&&` and the like) of one policy: each may be a level.
const LEVELS: usize = 256;
/// The longest text, in bytes.
const BYTES: usize = 1 << 20;

/// Why the text is not even parsed.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.len() > BYTES {
        return Err(format!("the text has more than {BYTES} bytes"));
    }
    let (mut brackets, mut levels) = (0_usize, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = token(rest, first);
        match first {
            '(' | '[' | '{' => brackets += 1,
            ')' | ']' | '}' => brackets = brackets.saturating_sub(1),
            ';' => levels = 0,
            '&' | '|' | '+' | '-' | '*' | '!' | '<' | '>' | '=' | '.' => levels += 1,
            _ if matches!(&rest[..token], "if" | "has" | "like" | "is" | "in") => levels += 1,
            _ => {}
        }
        if brackets > BRACKETS {
            return Err(format!(
                "an expression is nested more than {BRACKETS} levels deep"
            ));
        }
        if levels > LEVELS {
            return Err(format!(
                "a policy has more than {LEVELS} operators; split it, or use a set"
            ));
        }
        rest = &rest[token..];
    }
    Ok(())
}

/// The length of the first token: a string, a comment, a word, an operator, or anything else.
fn token(rest: &str, first: char) -> usize {
    let until = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return until(rest.find('\n'));
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match first {
        '"' => {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            until(end.map(|end| end + 2))
        }
        c if is_word(c) => until(rest.find(|c| !is_word(c))),
        '&' | '|' | '=' | '<' | '>' => {
            until(rest.find(|c| !matches!(c, '&' | '|' | '=' | '<' | '>')))
        }
        other => other.len_utf8(),
    }
}
