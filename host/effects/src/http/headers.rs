//! What an agent may put into a request's head.

use http::{HeaderName, HeaderValue};

use crate::Error;

/// The most header fields of a request.
pub const MAX_FIELDS: usize = 100;
/// The most bytes of a request's header fields, names and values together.
pub const MAX_BYTES: usize = 32 * 1024;

/// Fields that frame the message or speak to the next hop. They are the host's.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that say who asks. What stands in them is for the vault to know, so only a placement may
/// set them: a value that an agent holds was read, written or logged somewhere.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "cookie2"];

/// Fields that make some servers act on another method, path or host than the one that was checked.
const OVERRIDES: &[&str] = &[
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Fields that a request has at most once, because two readers would choose differently.
const SINGLE: &[&str] = &[
    "accept-encoding",
    "content-encoding",
    "content-range",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-unmodified-since",
    "origin",
    "range",
    "referer",
    "user-agent",
];

/// Checks the next field against the rules and against those before it.
///
/// Gives the name in lower case. Values are bytes, without control characters other than the tab.
pub fn check(fields: &[(String, Vec<u8>)], name: &str, value: &[u8]) -> Result<String, Error> {
    let name = check_name(name)?;
    if CREDENTIALS.contains(&name.as_str()) {
        return Err(Error::Invalid(format!(
            "the header {name} carries credentials, which an agent does not hold: keep the value in \
             the vault and place the secret with `secret-header` or `secret-basic`"
        )));
    }
    if HeaderValue::from_bytes(value).is_err() {
        return Err(Error::Invalid(format!(
            "the value of the header {name} has a control character, such as a line break"
        )));
    }
    if SINGLE.contains(&name.as_str()) && fields.iter().any(|(other, _)| *other == name) {
        return Err(Error::Invalid(format!("the header {name} is given twice")));
    }
    Ok(name)
}

/// Checks that the agent's headers are no more than a request has, those with secrets in counted as
/// they are shown.
pub(super) fn check_size(sizes: impl Iterator<Item = usize>) -> Result<(), Error> {
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    if count > MAX_FIELDS {
        return Err(Error::Invalid(format!(
            "a request has at most {MAX_FIELDS} headers"
        )));
    }
    if bytes > MAX_BYTES {
        return Err(Error::Invalid(format!(
            "the headers of a request have at most {MAX_BYTES} bytes"
        )));
    }
    Ok(())
}

/// Checks a name, whatever sets the value. Gives it in lower case.
pub(crate) fn check_name(name: &str) -> Result<String, Error> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(Error::Invalid(format!(
            "{name:?} is not the name of a header"
        )));
    };
    let name = parsed.as_str();
    if RESERVED.contains(&name) || name.starts_with("proxy-") {
        return Err(Error::Invalid(format!(
            "the header {name} is set by the host"
        )));
    }
    if OVERRIDES.contains(&name) {
        return Err(Error::Invalid(format!(
            "the header {name} could make the server act on another request than the one that was checked"
        )));
    }
    Ok(name.to_owned())
}

/// Whether a response's field says something about the connection rather than the content.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("proxy-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_frames_a_message_passes() {
        let names = [
            "Host",
            "host",
            "HOST",
            "Content-Length",
            "content-length",
            "Transfer-Encoding",
            "transfer-encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "te",
            "Trailer",
            "Upgrade",
            "Expect",
            "HTTP2-Settings",
            "Proxy-Authorization",
            "proxy-connection",
            "Proxy-Foo",
            "Authorization",
            "authorization",
            "AUTHORIZATION",
            "Cookie",
            "cookie",
            "Cookie2",
            "",
            " ",
            "a b",
            "a:",
            ":authority",
            ":path",
            "a\r",
            "a\n",
            "a\0",
            "a\r\nHost: x",
            "ä",
            "a\tb",
            "a(b)",
            "a,b",
            "a;b",
            "a=b",
            "a@b",
            "a[b]",
            "a{b}",
            "a\"b",
            "a/b",
            "a\\b",
            "a?b",
            " host",
            "host ",
            "X-HTTP-Method-Override",
            "x-http-method",
            "X-Method-Override",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Forwarded-Host",
            "Forwarded",
            "transfer-encoding ",
            "\u{feff}host",
            "content_length:",
        ];
        for name in names {
            assert!(check(&[], name, b"x").is_err(), "{name:?}");
        }
        let values: [&[u8]; 14] = [
            b"\r",
            b"\n",
            b"\0",
            b"a\r\nHost: x",
            b"a\nb",
            b"a\rb",
            b"\r\n\r\nGET / HTTP/1.1",
            b"a\0",
            b"\x01",
            b"\x0b",
            b"\x0c",
            b"\x1b[2J",
            b"\x7f",
            b"a\r\n b",
        ];
        for value in values {
            assert!(check(&[], "x-test", value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn who_wants_to_send_credentials_is_told_how() {
        let refused = check(&[], "Authorization", b"Bearer abc").expect_err("it is refused");
        assert!(refused.to_string().contains("secret-header"), "{refused}");
        assert!(check_name("Authorization").is_ok(), "a placement may");
        assert!(check_name("Cookie").is_ok(), "a placement may");
        assert!(check_name("Proxy-Authorization").is_err(), "nobody may");
    }

    #[test]
    fn ordinary_headers_pass_in_lower_case() {
        for (name, value) in [
            ("Accept", "application/json"),
            ("X-API-Version", "2"),
            ("Content-Type", "text/plain"),
            ("If-None-Match", "\"abc\""),
            ("x_y", "z"),
            ("X-Cookie-Consent", "no"),
            ("x-empty", ""),
            ("x-text", "grüße\tund"),
            ("x-proxy-hint", "1"),
        ] {
            let checked = check(&[], name, value.as_bytes());
            assert_eq!(checked.ok(), Some(name.to_ascii_lowercase()), "{name}");
        }
    }

    #[test]
    fn number_size_and_repetition_are_limited() {
        let many = |count, size| check_size(std::iter::repeat_n(size, count));
        assert!(many(MAX_FIELDS, 1).is_ok());
        assert!(many(MAX_FIELDS + 1, 1).is_err());
        assert!(many(1, MAX_BYTES).is_ok());
        assert!(many(1, MAX_BYTES + 1).is_err());
        assert!(many(32, MAX_BYTES / 32 + 1).is_err());
        let one = [("content-type".to_owned(), b"a/b".to_vec())];
        assert!(check(&one, "Content-Type", b"c/d").is_err());
        assert!(check(&[("accept".to_owned(), vec![])], "accept", b"x").is_ok());
    }
}
