//! Origins: scheme, host and port, in one canonical form.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The two schemes that leave the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `http`, in clear. Secrets never travel over it.
    Http,
    /// `https`.
    Https,
}

/// The host part of an origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A lower-case domain name in its ASCII (punycode) form.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// An origin such as `https://api.example.com`, canonical: equal origins have equal texts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
    text: String,
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an origin such as `https://api.example.com`: {reason}")]
pub struct OriginError {
    text: String,
    reason: &'static str,
}

impl Origin {
    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether requests travel over TLS.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The host, a name or an address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, the scheme's own one where none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The canonical text, without the scheme's own port.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the `Host` header says: host, and port where it is not the scheme's own.
    pub fn authority(&self) -> &str {
        self.text.split_once("://").map_or("", |(_, rest)| rest)
    }
}

impl Host {
    /// The host as it stands in a URL.
    pub fn to_text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::V4(address) => address.to_string(),
            Self::V6(address) => format!("[{address}]"),
        }
    }

    /// Whether this is an address rather than a name.
    pub fn is_address(&self) -> bool {
        !matches!(self, Self::Name(_))
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refuse = |reason| OriginError {
            text: text.chars().take(200).collect(),
            reason,
        };
        // The URL parser forgives white space, backslashes and missing slashes; an origin in a
        // manifest is read by people, so what they read must be what is meant.
        if text.bytes().any(|b| b <= b' ' || b == b'\\' || b == 0x7f) {
            return Err(refuse(
                "white space, control characters and backslashes are not allowed",
            ));
        }
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| refuse("it begins with neither `https://` nor `http://`"))?;
        if rest.contains('@') {
            return Err(refuse("user names and passwords are not allowed"));
        }
        if rest
            .strip_suffix('/')
            .unwrap_or(rest)
            .contains(['/', '?', '#'])
        {
            return Err(refuse(
                "path, query and fragment do not belong to an origin",
            ));
        }
        if rest.contains('%') {
            return Err(refuse("percent-encoding and zone ids are not allowed"));
        }
        let url = url::Url::parse(text).map_err(|_| refuse("it does not parse as a URL"))?;
        let scheme = if url.scheme() == "https" {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let host = match url.host() {
            Some(url::Host::Domain(name)) if name.ends_with('.') => {
                return Err(refuse("leave out the dot at the end of the host"));
            }
            Some(url::Host::Domain(name)) => Host::Name(name.to_owned()),
            Some(url::Host::Ipv4(address)) => Host::V4(address),
            Some(url::Host::Ipv6(address)) => Host::V6(address),
            None => return Err(refuse("it has no host")),
        };
        if let Host::V4(address) = host {
            // `0x7f.1` and `2130706433` parse as addresses too, but nobody reads them as such.
            let written = rest.trim_end_matches('/').split(':').next();
            if written != Some(address.to_string().as_str()) {
                return Err(refuse("write IPv4 addresses as four decimal numbers"));
            }
        }
        let default = if scheme == Scheme::Https { 443 } else { 80 };
        let port = url.port().unwrap_or(default);
        if port == 0 {
            return Err(refuse("port 0 does not exist"));
        }
        let mut canonical = format!("{}://{}", url.scheme(), host.to_text());
        if port != default {
            canonical.push_str(&format!(":{port}"));
        }
        Ok(Self {
            scheme,
            host,
            port,
            text: canonical,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_origins_have_equal_texts() {
        let table = [
            ("https://API.Example.com/", "https://api.example.com"),
            ("https://api.example.com:443", "https://api.example.com"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ];
        for (written, canonical) in table {
            assert_eq!(
                written.parse::<Origin>().map(|o| o.to_string()),
                Ok(canonical.to_owned())
            );
        }
    }

    #[test]
    fn what_people_could_misread_is_refused() {
        for bad in [
            "",
            "api.example.com",
            "ftp://a.example",
            "https://",
            "https://a.example/path",
            "https://a.example?q",
            "https://a.example#f",
            "https://user@a.example",
            "https://a.example.",
            "https:\\\\a.example",
            "https:/a.example",
            "https:///a.example",
            "http://2130706433",
            "http://0x7f.1",
            "http://127.1",
            "http://0177.0.0.1",
            "http://[fe80::1%25eth0]",
            "http://%31.example",
            "http://a.example:0",
            "http://a.example:99999",
            " https://a.example",
            "https://a\u{0}.example",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
