//! Finds secrets in bytes, in the shapes that programs give them, and takes them out.
//!
//! Each value is looked for as it is, in base64 (both alphabets, at each of the three alignments) and
//! in hexadecimal digits, and each of these in the bytes themselves and in what they are after
//! URL- and JSON-unescaping. Decoding the haystack rather than encoding the needle finds a value
//! whichever of its characters were escaped; it is decoded once for all values.
//!
//! Values that were split over neighbouring fields are found where the fields, put together in their
//! order, hold one. What is not found: a value in pieces in another order or with something between
//! them, over several messages, or changed by more than these encodings, such as reversed, encrypted
//! or compressed by the agent.

use std::ops::Range;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use zeroize::Zeroizing;

use crate::escapes::Escapes;

/// Shorter values are not looked for: they stand in ordinary text by chance.
pub const MIN_LENGTH: usize = 8;

/// Looks for a set of secrets.
#[derive(Clone, Default)]
pub struct Scanner {
    needles: Vec<Needle>,
}

#[derive(Clone)]
struct Needle {
    name: String,
    /// The shapes that are compared byte by byte.
    exact: Vec<Zeroizing<Vec<u8>>>,
    /// Lower-case hexadecimal digits, compared without regard to case.
    hex: Zeroizing<Vec<u8>>,
}

/// Where a secret stands, and its name.
type Found<'a> = (Range<usize>, &'a str);

impl Scanner {
    /// The name of a secret that stands in the fields when they are put together in their order.
    pub fn find_joined<'a>(&self, fields: impl IntoIterator<Item = &'a [u8]>) -> Option<&str> {
        let mut joined = Zeroizing::new(Vec::new());
        for field in fields {
            joined.extend_from_slice(field);
        }
        self.find(&joined)
    }

    /// Takes every secret out of the fields, those included that the fields hold only when they are
    /// put together in their order. True if there was one.
    pub fn redact_fields(&self, fields: &mut [&mut Vec<u8>]) -> bool {
        let mut found = false;
        for field in fields.iter_mut() {
            if let Some(clean) = self.redact(field) {
                **field = clean;
                found = true;
            }
        }
        // Each turn takes a secret out of at least two fields.
        for _ in 0..fields.len() {
            let all = fields.iter().map(|field| field.as_slice());
            let Some(name) = self.find_joined(all).map(str::to_owned) else {
                break;
            };
            let mut joined = Zeroizing::new(Vec::new());
            for field in fields.iter() {
                joined.extend_from_slice(field);
            }
            let found_at = self.search(&joined);
            let mut at = 0;
            for field in fields.iter_mut() {
                let (start, end) = (at, at + field.len());
                at = end;
                if found_at
                    .iter()
                    .any(|(range, _)| range.start < end && start < range.end)
                {
                    **field = format!("[secret:{name}]").into_bytes();
                }
            }
            found = true;
        }
        found
    }

    /// Every place where a secret stands, in the bytes or in what they mean to a decoder.
    fn search(&self, bytes: &[u8]) -> Vec<Found<'_>> {
        let mut found = self.exact(bytes);
        for escapes in Escapes::ALL {
            let Some(meant) = escapes.decode(bytes) else {
                continue;
            };
            let there = self.exact(&meant);
            let ranges: Vec<_> = there.iter().map(|(range, _)| range.clone()).collect();
            let written = escapes.written(bytes, &ranges);
            found.extend(
                written
                    .into_iter()
                    .zip(there.into_iter().map(|(_, name)| name)),
            );
        }
        found
    }

    fn exact(&self, bytes: &[u8]) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for needle in &self.needles {
            needle.each(bytes, |range| found.push((range, needle.name.as_str())));
        }
        found
    }

    /// Adds a value that `name` stands for. Values under [`MIN_LENGTH`] bytes are left out.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        if value.len() < MIN_LENGTH || self.knows(name, value) {
            return;
        }
        let mut exact = vec![Zeroizing::new(value.to_vec())];
        for alignment in 0..3 {
            exact.push(aligned(&STANDARD_NO_PAD, value, alignment));
            exact.push(aligned(&URL_SAFE_NO_PAD, value, alignment));
        }
        exact.dedup();
        let hex = Zeroizing::new(hex::encode(value).into_bytes());
        self.needles.push(Needle {
            name: name.to_owned(),
            exact,
            hex,
        });
    }

    fn knows(&self, name: &str, value: &[u8]) -> bool {
        self.needles.iter().any(|needle| {
            needle.name == name && needle.exact.first().is_some_and(|exact| ***exact == *value)
        })
    }

    /// Whether there is anything to look for.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// The name of a secret that stands in the bytes in one of its shapes.
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        if self.is_empty() {
            return None;
        }
        let decoded = Escapes::ALL.map(|escapes| escapes.decode(bytes));
        let mut views = vec![bytes];
        views.extend(decoded.iter().flatten().map(|view| view.as_slice()));
        self.needles
            .iter()
            .find(|needle| views.iter().any(|view| needle.is_in(view)))
            .map(|needle| needle.name.as_str())
    }

    /// The bytes with every secret replaced by `[secret:NAME]`, if there was one.
    pub fn redact(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut found = self.search(bytes);
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (range, name) in found {
            if range.start >= at {
                out.extend_from_slice(&bytes[at..range.start]);
                out.extend_from_slice(format!("[secret:{name}]").as_bytes());
            }
            // What overlaps the one before is part of the same replacement.
            at = at.max(range.end);
        }
        out.extend_from_slice(&bytes[at..]);
        Some(out)
    }
}

impl Needle {
    fn is_in(&self, bytes: &[u8]) -> bool {
        self.exact
            .iter()
            .any(|shape| memmem::find(bytes, shape).is_some())
            || find_ignoring_case(bytes, &self.hex, 0).is_some()
    }

    /// Tells of each place where one of its shapes stands.
    fn each(&self, bytes: &[u8], mut found: impl FnMut(Range<usize>)) {
        for shape in &self.exact {
            for at in memmem::find_iter(bytes, shape.as_slice()) {
                found(at..at + shape.len());
            }
        }
        let mut from = 0;
        while let Some(at) = find_ignoring_case(bytes, &self.hex, from) {
            from = at + self.hex.len();
            found(at..from);
        }
    }
}

/// The digits of `value` within a longer base64 text, at one of the three places it can begin;
/// digits that its neighbours have a part in are left out.
fn aligned(engine: &impl base64::Engine, value: &[u8], alignment: usize) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(vec![0; alignment]);
    padded.extend_from_slice(value);
    let text = Zeroizing::new(engine.encode(padded.as_slice()));
    let first = (alignment * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    Zeroizing::new(text.as_bytes()[first..last].to_vec())
}

fn find_ignoring_case(bytes: &[u8], hex: &[u8], mut from: usize) -> Option<usize> {
    // Both cases of the first digit, then a comparison: a text is seldom made of hex digits.
    let (low, high) = (hex[0], hex[0].to_ascii_uppercase());
    loop {
        let at = from + memchr::memchr2(low, high, bytes.get(from..)?)?;
        if bytes.get(at..at + hex.len())?.eq_ignore_ascii_case(hex) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    fn scanner(secrets: &[&str]) -> Scanner {
        let mut scanner = Scanner::default();
        for (index, secret) in secrets.iter().enumerate() {
            scanner.add(&format!("s{index}"), secret.as_bytes());
        }
        scanner
    }

    fn percent(text: &str, all: bool) -> String {
        text.bytes()
            .map(|b| match b {
                b if !all && b.is_ascii_alphanumeric() => char::from(b).to_string(),
                b => format!("%{b:02x}"),
            })
            .collect()
    }

    fn shapes(secret: &str) -> Vec<String> {
        let mut out = vec![
            secret.to_owned(),
            hex::encode(secret),
            hex::encode_upper(secret),
            percent(secret, false),
            percent(secret, true),
            percent(secret, true).to_uppercase().replace("%2B", "%2b"),
            serde_json::json!(secret)
                .to_string()
                .trim_matches('"')
                .to_owned(),
            secret
                .encode_utf16()
                .map(|u| format!("\\u{u:04x}"))
                .collect(),
            secret
                .encode_utf16()
                .map(|u| format!("\\u{u:04X}"))
                .collect(),
        ];
        for before in ["", "x", "xy"] {
            for after in ["", "z", "zz"] {
                let around = format!("{before}{secret}{after}");
                out.push(STANDARD.encode(&around));
                out.push(URL_SAFE.encode(&around));
                out.push(percent(&STANDARD.encode(&around), false));
                out.push(STANDARD.encode(&around).replace('/', "\\/"));
            }
        }
        out
    }

    #[test]
    fn forty_secrets_in_every_shape_are_found_and_removed() {
        let secrets: Vec<String> = (0..40)
            .map(|n| match n % 4 {
                0 => format!("sk-live-{n:08}"),
                1 => format!("pa/ss+wo=rd {n}?&\"\\"),
                2 => format!("ключ-価格-{n}-😀"),
                _ => hex::encode([n as u8; 16]),
            })
            .collect();
        for secret in &secrets {
            let scanner = scanner(&[secret]);
            for shape in shapes(secret) {
                let text = format!("{{\"echo\": \"{shape}\"}}");
                assert_eq!(scanner.find(text.as_bytes()), Some("s0"), "{shape}");
                let clean = scanner.redact(text.as_bytes()).expect("a secret was found");
                assert_eq!(scanner.find(&clean), None, "{shape} left {clean:?}");
                assert!(memmem::find(&clean, b"[secret:s0]").is_some());
                assert!(clean.starts_with(b"{\"echo\": \"") && clean.ends_with(b"\"}"));
            }
        }
    }

    #[test]
    fn other_text_is_left_alone() {
        let scanner = scanner(&["hunter2-hunter2", "short"]);
        for text in [
            "",
            "hunter2-hunter3",
            "short",
            "%",
            "%4",
            "%zz+\\",
            "\\u12",
            "\\ud800\\u0041",
            "68756e74",
        ] {
            assert_eq!(scanner.find(text.as_bytes()), None, "{text}");
            assert_eq!(scanner.redact(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_secret_over_several_fields_is_taken_out_of_each() {
        let scanner = scanner(&["alpha-secret-omega"]);
        for split in 1..17 {
            let (left, right) = "alpha-secret-omega".split_at(split);
            for (left, right) in [
                (left.to_owned(), right.to_owned()),
                (format!("before {left}"), format!("{right} after")),
            ] {
                let (mut a, mut b) = (left.into_bytes(), right.into_bytes());
                let mut other = b"other".to_vec();
                assert!(scanner.redact_fields(&mut [&mut a, &mut b, &mut other]));
                assert_eq!((&a[..], &b[..]), (&b"[secret:s0]"[..], &b"[secret:s0]"[..]));
                assert_eq!(other, b"other");
            }
        }
        let mut whole = b"x alpha-secret-omega".to_vec();
        assert!(scanner.redact_fields(&mut [&mut whole]));
        assert_eq!(whole, b"x [secret:s0]");
        assert!(!scanner.redact_fields(&mut [&mut b"alpha".to_vec(), &mut b"-".to_vec()]));
    }

    #[test]
    fn a_secret_that_looks_like_a_replacement_ends_the_search_all_the_same() {
        let scanner = scanner(&["[secret:"]);
        let (mut a, mut b) = (b"[sec".to_vec(), b"ret:".to_vec());
        assert!(scanner.redact_fields(&mut [&mut a, &mut b]));
    }

    #[test]
    fn neighbours_and_overlaps_are_each_replaced() {
        let scanner = scanner(&["alpha-secret", "secret-omega"]);
        let clean = scanner
            .redact(b"<alpha-secretalpha-secret-omega>")
            .expect("secrets were found");
        assert_eq!(clean, b"<[secret:s0][secret:s0]>");
        let clean = scanner
            .redact(b"a alpha-secret b secret-omega c")
            .expect("secrets were found");
        assert_eq!(clean, b"a [secret:s0] b [secret:s1] c");
    }
}
