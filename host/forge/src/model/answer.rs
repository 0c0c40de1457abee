//! Finds what was asked for in an answer that says more than that.

use serde_json::{Deserializer, Value};

/// Places at which an object is looked for.
const PLACES: usize = 2_000;
/// Where models end to think aloud.
const THOUGHTS: [&str; 3] = ["</think>", "</thinking>", "</reasoning>"];

/// The longest JSON object in an answer: without the model's thoughts, its fences and its courtesies,
/// and with the commas and comments forgiven that JSON does not have.
pub(crate) fn object(answer: &str) -> Option<Value> {
    let answer = spoken(answer);
    let tidied = longest(&tidy(answer));
    // Of an object that does not read as it is, a smaller one within it may.
    let found = match (longest(answer), tidied) {
        (Some(found), Some(tidied)) if tidied.0 > found.0 => Some(tidied),
        (found, tidied) => found.or(tidied),
    };
    found.map(|(_, value)| value)
}

/// The longest object, and how long it is.
fn longest(text: &str) -> Option<(usize, Value)> {
    let mut found: Option<(usize, Value)> = None;
    let mut end = 0;
    for (place, _) in text.match_indices('{').take(PLACES) {
        if place < end {
            continue;
        }
        let mut values = Deserializer::from_str(&text[place..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            continue;
        };
        let length = values.byte_offset();
        end = place + length;
        if found.as_ref().is_none_or(|(longest, _)| length > *longest) {
            found = Some((length, value));
        }
    }
    found
}

/// The text without commas before a closing bracket and without comments, strings left as they are.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' if quoted => {
                tidy.push(c);
                tidy.extend(rest.next());
                continue;
            }
            '"' => quoted = !quoted,
            '/' if !quoted && rest.peek() == Some(&'/') => {
                while rest.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            '}' | ']' if !quoted => {
                let kept = tidy.trim_end();
                if kept.ends_with(',') {
                    tidy.truncate(kept.len() - 1);
                }
            }
            _ => {}
        }
        tidy.push(c);
    }
    tidy
}

/// The Rust source in an answer: its longest fenced block, or all of it if there
/// is none.
pub(crate) fn code(answer: &str) -> String {
    let answer = spoken(answer);
    let mut parts = answer.split("```");
    let before = parts.next().unwrap_or_default();
    let longest = parts
        .step_by(2)
        .map(|block| match block.split_once('\n') {
            // The first line of a block names the language.
            Some((language, code)) if !language.contains(';') => code,
            _ => block,
        })
        .max_by_key(|code| code.len());
    let code = longest.unwrap_or(before).trim();
    format!("{code}\n")
}

/// What comes after the model's thoughts, if it thinks aloud.
fn spoken(answer: &str) -> &str {
    let mut spoken = answer;
    for end in THOUGHTS {
        if let Some((_, after)) = spoken.rsplit_once(end) {
            spoken = after;
        }
    }
    spoken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_the_object_among_words() {
        for answer in [
            "{\"a\": {}}",
            "Sure! ```json\n{\"a\": {}}\n``` Enjoy.",
            "<think>{no}</think>{\"a\": {}}",
            "Given {x} and {\"b\": 1}, this is it: {\"a\": {}} as you {asked}",
            "{\"a\": {,},}",
            "{\n  // the only one\n  \"a\": {}, // and no other\n}",
        ] {
            assert_eq!(object(answer), Some(json!({ "a": {} })), "{answer}");
        }
        for answer in [
            "no",
            "{",
            "{\"a\": ",
            "{x}",
            "[1]",
            "<think>{\"a\": 1}</think>",
        ] {
            assert_eq!(object(answer), None, "{answer}");
        }
    }

    #[test]
    fn strings_are_left_as_they_are() {
        let odd = json!({ "url": "https://a.example//b,]", "said": "\",}\\" });
        let answer = odd.to_string().replace('}', ",}");
        let answer = answer.replace("\\\",,}", "\\\",}");
        assert_eq!(object(&answer), Some(odd), "{answer}");
    }

    #[test]
    fn many_brackets_take_no_time() {
        for piece in ["{", "{\"", "{\"a\":", "{\"a\":["] {
            assert_eq!(longest(&piece.repeat(100_000)), None, "{piece}");
        }
    }

    #[test]
    fn finds_the_code_among_words() {
        for answer in [
            "fn a() {}",
            "Here:\n```rust\nfn a() {}\n```\nand\n```\nx\n```",
            "<think>```\nlonger than the answer\n```</think>```rust\nfn a() {}\n```",
            "```rust\nfn a() {}",
        ] {
            assert_eq!(code(answer), "fn a() {}\n", "{answer}");
        }
    }
}
