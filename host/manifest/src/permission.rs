//! What an agent may ask the host for.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{AgentName, SecretName, SpaceName, Tag};
use crate::origin::Origin;
use crate::target::Target;

/// One power that a manifest asks for. Its text form is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// To send requests to one origin.
    Http(HttpPermission),
    /// To have a secret used on its behalf.
    Secret(SecretPermission),
    /// To read or write a memory space.
    Memory(MemoryPermission),
    /// To call other agents.
    Peer(PeerPermission),
}

/// Which requests an agent may send to one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPermission {
    /// The only origin this permission speaks of.
    pub origin: Origin,
    /// The methods allowed, at least one.
    pub methods: Vec<Method>,
    /// The paths allowed, at least one: an exact path, or everything below one that ends in `/*`.
    pub paths: Vec<String>,
    /// Which POST bodies are claimed to be queries. Every rule must match.
    pub reads: Vec<ReadRule>,
    /// At least how far every request reaches that it covers.
    pub class: Option<Class>,
}

/// Claims that a JSON body is a query when the text at `pointer` is one of `values`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRule {
    /// A JSON Pointer (RFC 6901) into the body, such as `/method`.
    pub pointer: String,
    /// The texts that make the request a read.
    pub values: Vec<String>,
}

/// The right to have a secret placed into requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPermission {
    /// The secret's name in the vault.
    pub name: SecretName,
    /// The origins it may be sent to, all https. The vault's own audience narrows it further.
    pub audience: Vec<Origin>,
    /// Whether the agent may ask for the value itself. The operator has to have said so of the
    /// secret as well, and a person is asked each time.
    pub reveal: bool,
}

/// The right to use one memory space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPermission {
    /// The space.
    pub space: SpaceName,
    /// What may be done in it.
    pub access: Access,
    /// Whether what is in it is private: what is written is, and whoever reads has seen private data.
    pub private: bool,
    /// At least how far every write reaches.
    pub class: Option<Class>,
}

/// The right to call one agent, or every agent with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPermission {
    /// Who may be called.
    pub peer: Peer,
    /// At least how far every call reaches.
    pub class: Option<Class>,
}

/// Whom a peer permission is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// This agent.
    Agent(AgentName),
    /// Agents that carry this tag, those not yet born included.
    Tag(Tag),
}

/// How far an author says that something reaches. It can only raise what the host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Changes what the host holds.
    Internal,
    /// Leaves the host: a person is asked.
    External,
    /// Cannot be taken back: a person is asked each time.
    Irreversible,
}

/// What the holder of a memory handle may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
}

/// A request method of the world's `http` interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the methods of RFC 9110")]
pub enum Method {
    Get,
    Head,
    Options,
    Post,
    Put,
    Patch,
    Delete,
}

/// A text that names no supported method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a method: use GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE")]
pub struct UnknownMethod(String);

impl Method {
    /// The method as sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the method is a read by its definition (GET, HEAD, OPTIONS).
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        use Method::{Delete, Get, Head, Options, Patch, Post, Put};
        [Get, Head, Options, Post, Put, Patch, Delete]
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| UnknownMethod(text.chars().take(40).collect()))
    }
}

impl HttpPermission {
    /// Whether a request of this method to this target is covered.
    pub fn allows(&self, method: Method, target: &Target) -> bool {
        self.methods.contains(&method)
            && self
                .paths
                .iter()
                .any(|pattern| match pattern.strip_suffix("/*") {
                    Some(parent) => target
                        .path()
                        .strip_prefix(parent)
                        .is_some_and(|rest| rest.starts_with('/')),
                    None => target.path() == pattern,
                })
    }

    /// Whether the request is a read: by its method, or a POST whose body every read rule matches.
    ///
    /// A body that two JSON parsers could read differently (duplicate keys) is never a read.
    pub fn is_read(&self, method: Method, body: &[u8]) -> bool {
        if method != Method::Post || self.reads.is_empty() {
            return method.is_read();
        }
        ReadRule::all_match(&self.reads, body)
    }
}

impl ReadRule {
    /// Whether a body is JSON and every rule finds one of its texts in it. A body that two parsers could
    /// read differently (duplicate keys) matches nothing.
    pub fn all_match(rules: &[Self], body: &[u8]) -> bool {
        let Ok(crate::raw::UniqueKeys(body)) = serde_json::from_slice(body) else {
            return false;
        };
        rules.iter().all(|rule| {
            body.pointer(&rule.pointer)
                .and_then(|value| value.as_str())
                .is_some_and(|text| rule.values.iter().any(|value| value == text))
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::ReadWrite => "read-write",
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::External => "external",
            Self::Irreversible => "irreversible",
        })
    }
}

/// A text of the author's as one word of a permission's line: as it is if it can't be taken for more than
/// that, and otherwise in quotes, with whatever does not print made visible. Different texts are different
/// words.
fn token(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.~".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{text:?}")),
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => {
                let methods: Vec<_> = http.methods.iter().map(|m| m.as_str()).collect();
                write!(
                    f,
                    "http {} {} on {}",
                    methods.join(", "),
                    http.origin,
                    http.paths.join(", ")
                )?;
                for rule in &http.reads {
                    let values: Vec<_> = rule.values.iter().map(|value| token(value)).collect();
                    let pointer = token(&rule.pointer);
                    write!(f, "; reads where {pointer} is {}", values.join(" or "))?;
                }
                raised(f, http.class, "all of it")
            }
            Self::Secret(secret) => {
                let audience: Vec<_> = secret.audience.iter().map(Origin::as_str).collect();
                write!(f, "secret {} towards {}", secret.name, audience.join(", "))?;
                if secret.reveal {
                    f.write_str("; the agent may ask to see its value")?;
                }
                Ok(())
            }
            Self::Memory(memory) => {
                let private = if memory.private { ", private" } else { "" };
                write!(f, "memory {} ({}{private})", memory.space, memory.access)?;
                raised(f, memory.class, "writes")
            }
            Self::Peer(permission) => {
                match &permission.peer {
                    Peer::Agent(name) => write!(f, "peer {name}"),
                    Peer::Tag(tag) => write!(f, "peers tagged {tag}"),
                }?;
                raised(f, permission.class, "calls")
            }
        }
    }
}

fn raised(f: &mut fmt::Formatter<'_>, class: Option<Class>, what: &str) -> fmt::Result {
    match class {
        Some(class) => write!(f, "; {what} at least {class}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(paths: &[&str], reads: Vec<ReadRule>) -> HttpPermission {
        HttpPermission {
            origin: "https://rpc.example.com".parse().expect("origin"),
            methods: vec![Method::Get, Method::Post],
            paths: paths.iter().map(|&p| p.to_owned()).collect(),
            reads,
            class: None,
        }
    }

    #[test]
    fn a_path_pattern_covers_itself_or_everything_below() {
        let permission = permission(&["/v1", "/v3/*"], vec![]);
        let allows = |text: &str| permission.allows(Method::Get, &text.parse().expect(text));
        for good in ["/v1", "/v1?x=1", "/v3/", "/v3/price", "/v3/a/b"] {
            assert!(allows(good), "{good}");
        }
        for bad in ["/", "/v1/", "/v1/x", "/v10", "/v3", "/v30/x", "/V1"] {
            assert!(!allows(bad), "{bad}");
        }
        assert!(!permission.allows(Method::Delete, &"/v1".parse().expect("target")));
    }

    #[test]
    fn what_counts_as_a_read_stays_one_line_that_is_its_own() {
        let line = |pointer: &str, values: &[&str]| {
            let rule = ReadRule {
                pointer: pointer.to_owned(),
                values: values.iter().map(|&value| value.to_owned()).collect(),
            };
            Permission::Http(permission(&["/v1"], vec![rule])).to_string()
        };
        let plain = line("/method", &["eth_call", "eth_getBalance"]);
        assert!(plain.ends_with("; reads where /method is eth_call or eth_getBalance"));
        let lines = [
            plain,
            line("/method", &["eth_call or eth_getBalance"]),
            line("/method", &["\"eth_call\" or eth_getBalance"]),
            line(
                "/method is eth_call or eth_getBalance; reads where /x",
                &["y"],
            ),
            line("/m\thod", &["a\npeer mallory", "\u{202e}b", "\u{9b}", ""]),
        ];
        for (at, line) in lines.iter().enumerate() {
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(!line.contains('\u{202e}'), "{line:?}");
            assert!(!lines[..at].contains(line), "{line}");
        }
    }

    #[test]
    fn only_an_unambiguous_query_is_a_read() {
        let rule = ReadRule {
            pointer: "/method".into(),
            values: vec!["eth_call".into()],
        };
        let permission = permission(&["/v1"], vec![rule]);
        assert!(permission.is_read(Method::Post, br#"{"method":"eth_call","params":[]}"#));
        for body in [
            &br#"{"method":"eth_sendRawTransaction"}"#[..],
            br#"{"method":"eth_call","method":"eth_sendRawTransaction"}"#,
            br#"{"method":"eth_sendRawTransaction","method":"eth_call"}"#,
            br#"{"m\u0065thod":"eth_sendRawTransaction","method":"eth_call"}"#,
            br#"[{"method":"eth_call"}]"#,
            br#"{"method":["eth_call"]}"#,
            br#"{"method":"eth_call"} x"#,
            b"method=eth_call",
            b"",
        ] {
            assert!(
                !permission.is_read(Method::Post, body),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        assert!(permission.is_read(Method::Get, b""));
        assert!(!permission.is_read(Method::Delete, br#"{"method":"eth_call"}"#));
    }
}
