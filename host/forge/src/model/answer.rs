//! Finds what was asked for in an answer that says more than that.

/// The JSON object in an answer: without the model's thoughts, its fences and its
/// courtesies.
pub(crate) fn object(answer: &str) -> Option<&str> {
    let answer = spoken(answer);
    let start = answer.find('{')?;
    let end = answer.rfind('}')?;
    answer.get(start..=end)
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
    answer
        .rsplit_once("</think>")
        .map_or(answer, |(_, spoken)| spoken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_object_among_words() {
        for answer in [
            "{\"a\": {}}",
            "Sure! ```json\n{\"a\": {}}\n``` Enjoy.",
            "<think>{no}</think>{\"a\": {}}",
        ] {
            assert_eq!(object(answer), Some("{\"a\": {}}"), "{answer}");
        }
        assert_eq!(object("no"), None);
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
