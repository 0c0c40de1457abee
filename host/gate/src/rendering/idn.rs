//! Hosts that read one way and are written another.

use super::text::quote;

/// The longest name of a host.
const MAX: usize = 253;

/// The hosts in a text that have two forms, each in both: as it stands there, and as it reads, or is
/// written on the wire. Inert, in the order of their first appearance.
///
/// Whatever is in punycode counts as a host, and other letters do behind `//` or `@`.
pub(super) fn hosts(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let in_name =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || !c.is_ascii();
    let mut rest = text;
    let mut before = "";
    while let Some(begin) = rest.find(in_name) {
        let (skipped, token) = rest.split_at(begin);
        before = if skipped.is_empty() { before } else { skipped };
        let end = token.find(|c| !in_name(c)).unwrap_or(token.len());
        let (token, after) = token.split_at(end);
        let shown = both(token, before.ends_with("//") || before.ends_with('@'));
        found.extend(shown.filter(|shown| !found.contains(shown)));
        before = "";
        rest = after;
    }
    found
}

fn both(host: &str, is_host: bool) -> Option<String> {
    if host.len() > MAX {
        return None;
    }
    let punycode = |label: &str| {
        label
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
    };
    let (other, valid) = if host.split('.').any(punycode) {
        let (unicode, valid) = idna::domain_to_unicode(host);
        (unicode, valid.is_ok())
    } else if is_host && !host.is_ascii() {
        match idna::domain_to_ascii(host) {
            Ok(ascii) => (ascii, true),
            Err(_) => (host.to_owned(), false),
        }
    } else {
        return None;
    };
    let host = quote(host);
    Some(if valid {
        format!("{host} is {}", quote(&other))
    } else {
        format!("{host} is no valid name, and would read {}", quote(&other))
    })
}

#[cfg(test)]
mod tests {
    use super::hosts;

    #[test]
    fn both_forms_are_shown() {
        for (text, shown) in [
            (
                "https://xn--bcher-kva.example/a",
                vec![r#""xn--bcher-kva.example" is "bücher.example""#],
            ),
            (
                "https://bücher.example:8443",
                vec![r#""bücher.example" is "xn--bcher-kva.example""#],
            ),
            // The first letter is Cyrillic.
            (
                "pay at https://xn--pple-43d.com",
                vec![r#""xn--pple-43d.com" is "аpple.com""#],
            ),
            (
                "a@аpple.com, xn--pple-43d.com",
                vec![
                    r#""аpple.com" is "xn--pple-43d.com""#,
                    r#""xn--pple-43d.com" is "аpple.com""#,
                ],
            ),
            (
                "//XN--BCHER-KVA.example //XN--BCHER-KVA.example",
                vec![r#""XN--BCHER-KVA.example" is "bücher.example""#],
            ),
            ("https://api.example.com/grüße", vec![]),
            ("Grüße an alle", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(hosts(text), shown, "{text}");
        }
        assert_eq!(
            hosts("https://xn--a.example").len(),
            1,
            "a malformed one is told, too"
        );
        assert!(hosts(&"xn--".repeat(100)).is_empty());
    }
}
