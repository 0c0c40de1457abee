//! From one URL to what the host wants: an origin, and a path with query in canonical form.
//!
//! Canonical means that two spellings of the same target become one, and that a path which could be read in
//! two ways (dot segments, encoded slashes, backslashes) is refused here, where the message is clearest.

use std::fmt::Write;

use crate::{Error, Result};

/// An absolute URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Scheme, host and, unless it is the scheme's own, port.
    pub(super) origin: String,
    /// Begins with a slash.
    pub(super) path: String,
    /// Without the question mark; empty if there is none.
    pub(super) query: String,
}

/// Percent-encodes a text so that it can stand in a path segment or a query value:
/// everything but letters, digits, `-`, `.`, `_` and `~`.
pub fn encode(text: impl AsRef<str>) -> String {
    let mut encoded = String::new();
    for byte in text.as_ref().bytes() {
        push(&mut encoded, byte, is_unreserved(byte));
    }
    encoded
}

impl Url {
    pub(super) fn parse(url: &str) -> Result<Url> {
        let invalid = |reason: &str| Error::Invalid(format!("URL {url:?}: {reason}"));
        if url
            .bytes()
            .any(|byte| byte.is_ascii_control() || byte == b'\\')
        {
            return Err(invalid(
                "control characters and backslashes are not allowed",
            ));
        }
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("it must begin with https:// or http://"))?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "https" => "443",
            "http" => "80",
            _ => return Err(invalid("it must begin with https:// or http://")),
        };
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = authority_of(authority, default_port).map_err(invalid)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Url {
            origin: format!("{scheme}://{authority}"),
            path: canonical_path(path).map_err(invalid)?,
            query: canonical(query, is_query),
        })
    }

    /// Adds a parameter, encoded.
    pub(super) fn append(&mut self, name: &str, value: &str) {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(&encode(name));
        self.query.push('=');
        self.query.push_str(&encode(value));
    }

    /// Path and query, as the host takes them.
    pub(super) fn target(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }
}

/// Host in lower case and, unless it is the default one, port.
fn authority_of(authority: &str, default_port: &str) -> Result<String, &'static str> {
    if authority.contains('@') {
        return Err("a user name or password is not allowed: use secret_basic");
    }
    if !authority.is_ascii() || authority.contains(['%', ' ']) {
        return Err("the host must be plain ASCII");
    }
    // The colons of an IPv6 address are inside brackets.
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[host_end..].find(':') {
        Some(colon) => (
            &authority[..host_end + colon],
            &authority[host_end + colon + 1..],
        ),
        None => (authority, ""),
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return Err("its port is not a number up to 65535");
    }
    let host = host.to_ascii_lowercase();
    Ok(if port.is_empty() || port == default_port {
        host
    } else {
        format!("{host}:{port}")
    })
}

fn canonical_path(path: &str) -> Result<String, &'static str> {
    let path = canonical(path, is_path);
    if path
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        return Err("a path with . or .. is not allowed");
    }
    if path.contains("%2F") || path.contains("%5C") {
        return Err("an encoded slash or backslash is not allowed in a path");
    }
    Ok(if path.is_empty() {
        "/".to_owned()
    } else {
        path
    })
}

/// Encodes what is not `allowed`, decodes what need not be encoded, and writes the rest in upper case.
fn canonical(text: &str, allowed: fn(u8) -> bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3).and_then(hex_byte))
            .flatten();
        match escaped {
            Some(byte) => {
                push(&mut out, byte, is_unreserved(byte));
                at += 3;
            }
            None => {
                push(&mut out, bytes[at], allowed(bytes[at]));
                at += 1;
            }
        }
    }
    out
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

fn push(out: &mut String, byte: u8, plain: bool) {
    if plain {
        out.push(char::from(byte));
    } else {
        // Writing to a string cannot fail.
        let _ = write!(out, "%{byte:02X}");
    }
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// `pchar` of RFC 3986, section 3.3, and the slash.
fn is_path(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

/// RFC 3986, section 3.4, without the apostrophe, which URL parsers encode in queries.
fn is_query(byte: u8) -> bool {
    is_path(byte) && byte != b'\'' || byte == b'?'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Option<(String, String)> {
        Url::parse(url)
            .ok()
            .map(|url| (url.origin.clone(), url.target()))
    }

    #[test]
    fn a_url_becomes_origin_and_target() {
        let cases = [
            (
                "https://api.example.com/v3/price?ids=eth",
                "https://api.example.com",
                "/v3/price?ids=eth",
            ),
            ("https://api.example.com", "https://api.example.com", "/"),
            (
                "https://api.example.com?x=1",
                "https://api.example.com",
                "/?x=1",
            ),
            (
                "HTTPS://API.Example.com:443/A",
                "https://api.example.com",
                "/A",
            ),
            (
                "http://127.0.0.1:8080/price",
                "http://127.0.0.1:8080",
                "/price",
            ),
            ("http://[::1]:80/", "http://[::1]", "/"),
            ("http://[::1]:81/", "http://[::1]:81", "/"),
            ("https://a.example/x#part", "https://a.example", "/x"),
            (
                "https://a.example/a b/ü?q=a b\"",
                "https://a.example",
                "/a%20b/%C3%BC?q=a%20b%22",
            ),
            (
                "https://a.example/%7eanna/%c3%bc?q=%2f",
                "https://a.example",
                "/~anna/%C3%BC?q=%2F",
            ),
            ("https://a.example/100%", "https://a.example", "/100%25"),
        ];
        for (url, origin, target) in cases {
            assert_eq!(
                parts(url),
                Some((origin.to_owned(), target.to_owned())),
                "{url}"
            );
        }
    }

    #[test]
    fn a_url_that_can_be_read_in_two_ways_is_refused() {
        let cases = [
            "",
            "/price",
            "api.example.com/price",
            "ftp://a.example/",
            "https:///x",
            "https://user:pass@a.example/",
            "https://a.example/../b",
            "https://a.example/%2e%2E/b",
            "https://a.example/a%2Fb",
            "https://a.example/a%5cb",
            "https://a.example\\b",
            "https://a.example/a\nb",
            "https://ä.example/",
            "https://a.example:99999/",
        ];
        for url in cases {
            assert!(matches!(Url::parse(url), Err(Error::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn canonical_form_is_stable() {
        for url in [
            "https://a.example/%7e/ü ?a=%zz&b=[1]'",
            "https://a.example/a//b;c?d=e+f",
        ] {
            let once = parts(url).map(|(origin, target)| origin + &target);
            let twice = once
                .as_deref()
                .and_then(parts)
                .map(|(origin, target)| origin + &target);
            assert!(once.is_some());
            assert_eq!(once, twice);
        }
    }

    #[test]
    fn parameters_are_encoded() {
        let mut url =
            Url::parse("https://a.example/x?a=1").unwrap_or_else(|error| panic!("{error}"));
        url.append("q&", "a b=c/ü");
        assert_eq!(url.target(), "/x?a=1&q%26=a%20b%3Dc%2F%C3%BC");
    }
}
