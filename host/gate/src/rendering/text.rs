//! Text that shows every character it has.

use std::fmt::Write as _;

/// How many combining marks may follow one letter: what lies on top of each other hides what is below.
const MARKS: usize = 3;

/// The text with every character that would not show as itself written out.
///
/// The result has no control character, not even a line end, and can be read back: a backslash is
/// doubled, so no text renders as another one does.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Nothing to stand on yet.
    let mut room = 0;
    for character in text.chars() {
        let written_out = match character {
            '\\' => {
                out.push_str("\\\\");
                room = MARKS;
                continue;
            }
            mark if is_mark(mark) => {
                let fits = room > 0;
                room = room.saturating_sub(1);
                !fits
            }
            other => {
                let hidden = is_hidden(other);
                room = if hidden || !other.is_alphanumeric() {
                    0
                } else {
                    MARKS
                };
                hidden
            }
        };
        if written_out {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// The same within quotation marks.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", escape(text).replace('"', "\\\""))
}

/// Whether a character is invisible, moves the cursor, changes the direction, strikes out what stands
/// before it, or passes for a plain space.
pub fn is_hidden(character: char) -> bool {
    matches!(character,
        // Controls, among them escape, tab, carriage return and the C1 set.
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Spaces that are not the space, and the soft hyphen.
        | '\u{a0}' | '\u{ad}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
        // Zero-width characters, direction marks, embeddings, overrides and isolates.
        | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        // Letters and symbols without ink.
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}'
        | '\u{16fe4}' | '\u{1d159}'
        // Strokes and frames laid over a letter.
        | '\u{334}'..='\u{338}' | '\u{489}' | '\u{20d2}' | '\u{20d3}' | '\u{20d8}'..='\u{20da}'
        | '\u{20dd}'..='\u{20e0}' | '\u{20e2}'..='\u{20e6}' | '\u{20ea}' | '\u{20eb}'
        // Arabic and other format characters, annotations, musical and shorthand controls.
        | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        // Variation selectors, tags, specials, private use and noncharacters.
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}' | '\u{fff0}'..='\u{fffc}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}'
    )
}

/// Whether a character of no script's own stands on the letter before it. The marks of scripts that
/// can't do without, such as those of India, are letters here.
fn is_mark(character: char) -> bool {
    !is_hidden(character)
        && matches!(character,
            '\u{300}'..='\u{36f}' | '\u{483}'..='\u{488}' | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_show_is_written_out() {
        for (text, shown) in [
            ("pay \u{202e}001\u{202c}", "pay \\u{202e}001\\u{202c}"),
            ("a\u{1b}[2Jb\r\tc\n", "a\\u{1b}[2Jb\\u{d}\\u{9}c\\u{a}"),
            ("ze\u{200b}ro\u{feff}", "ze\\u{200b}ro\\u{feff}"),
            ("\\u{202e}", "\\\\u{202e}"),
            ("plain, grüße, 価格 €", "plain, grüße, 価格 €"),
            (
                "cafe\u{301}, ne\u{308}\u{304}e",
                "cafe\u{301}, ne\u{308}\u{304}e",
            ),
            ("\u{301}first", "\\u{301}first"),
            (" \u{301}", " \\u{301}"),
            ("1\u{336}0\u{20e0}", "1\\u{336}0\\u{20e0}"),
            (
                "a\u{300}\u{301}\u{302}\u{303}",
                "a\u{300}\u{301}\u{302}\\u{303}",
            ),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(escape(text), shown);
        }
        assert_eq!(quote("a\"b\\\n"), "\"a\\\"b\\\\\\u{a}\"");
    }

    #[test]
    fn the_twelve_marks_of_direction_are_hidden() {
        let marks = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        assert_eq!(marks.chars().filter(|mark| is_hidden(*mark)).count(), 12);
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
            let text = format!("\\{code}x\\u{{{code}}}a{code}{code}");
            let escaped = escape(&text);
            assert_eq!(decode(&escaped), text);
            assert!(!escaped.chars().any(|c| is_hidden(c) || c.is_control()));
        }
    }
}
