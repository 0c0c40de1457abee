//! Request targets: path and query, in the one form that is checked, shown and sent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest target that is accepted, in bytes.
const MAX: usize = 8 * 1024;

/// Path and query of a request, such as `/v3/price?ids=eth`.
///
/// It is canonical: an absolute path without `.` or `..` segments, empty segments, encoded
/// slashes or dots, backslashes or a fragment. A server that normalises paths reads the same
/// path as the gate did.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    text: String,
    path: usize,
}

/// Why a text is no canonical target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a canonical request target such as `/v3/price?ids=eth`: {reason}")]
pub struct TargetError {
    text: String,
    reason: &'static str,
}

impl Target {
    /// The path, beginning with `/`.
    pub fn path(&self) -> &str {
        &self.text[..self.path]
    }

    /// The query without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path + 1..)
    }

    /// Path and query as sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        check(text).map_err(|reason| TargetError {
            text: text.chars().take(200).collect(),
            reason,
        })?;
        let path = text.find('?').unwrap_or(text.len());
        Ok(Self {
            text: text.to_owned(),
            path,
        })
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX {
        return Err("it is longer than 8 KiB");
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, query),
        None => (text, ""),
    };
    if !path.starts_with('/') {
        return Err("it does not begin with `/`");
    }
    for byte in text.bytes() {
        match byte {
            b'#' => return Err("a fragment never leaves a client"),
            b'\\' => return Err("backslashes are read as slashes by some servers"),
            b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^' | 0..=b' ' | 0x7f.. => {
                return Err("percent-encode everything but the characters of RFC 3986");
            }
            _ => {}
        }
    }
    for escape in escapes(path).chain(escapes(query)) {
        escape?;
    }
    for octet in escapes(path) {
        match octet? {
            b'/' | b'\\' => {
                return Err("encoded slashes are read differently by different servers");
            }
            b'.' => return Err("write dots as they are"),
            0..=0x1f | 0x7f => return Err("control characters do not belong in a path"),
            b'%' => {
                return Err(
                    "a percent sign that is encoded twice is read differently by different servers",
                );
            }
            _ => {}
        }
    }
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        // `;` starts parameters that some servers strip before they look for dots.
        let name = segment.split(';').next().unwrap_or_default();
        if matches!(name, "." | "..") {
            return Err("`.` and `..` segments are not canonical");
        }
        if segment.is_empty() && segments.peek().is_some() {
            return Err("empty segments are not canonical");
        }
    }
    Ok(())
}

/// The octets written as `%XX`, or what is wrong with one.
fn escapes(text: &str) -> impl Iterator<Item = Result<u8, &'static str>> {
    text.match_indices('%').map(|(at, _)| {
        let digits = text
            .get(at + 1..at + 3)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or("`%` is not followed by two hex digits")
    })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_targets_keep_every_byte() {
        for good in [
            "/",
            "/v1",
            "/v1/",
            "/a%20b?q=%2F..&x=1",
            "/a;v=1/b",
            "/~me/x.y?",
            "/%C3%A9",
        ] {
            assert_eq!(
                good.parse::<Target>().map(|t| t.to_string()),
                Ok(good.to_owned())
            );
        }
        let target: Target = "/v3/price?ids=eth".parse().expect("canonical");
        assert_eq!(
            (target.path(), target.query()),
            ("/v3/price", Some("ids=eth"))
        );
    }

    #[test]
    fn what_servers_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "v1",
            "//v1",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/..",
            "/a/..;x/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/%2e%2e/b",
            "/a\\b",
            "/a#f",
            "/a b",
            "/a\tb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/é",
            "/a%00",
            "/a%250",
            "/a?b%",
            "/a?b c",
            "/a?\u{202e}",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
