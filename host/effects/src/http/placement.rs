//! Where secrets go in a request: shown by name, put in at egress.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use nexus_manifest::{Origin, SecretName};
use nexus_vault::Secret;
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::headers;
use super::request::{FORM, Request};
use crate::Error;
use crate::show::show;

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// A secret and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Which secret.
    pub secret: SecretName,
    /// What the host makes of it.
    pub place: Place,
}

/// What the host makes of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header; `{}` in `format` is replaced by the secret.
    Header {
        /// The header's name.
        name: String,
        /// Text with one `{}`, such as `Bearer {}`.
        format: String,
    },
    /// A query parameter.
    Query {
        /// The parameter's name.
        name: String,
    },
    /// Basic authentication with the secret as password.
    Basic {
        /// The user.
        user: String,
    },
    /// A field of an `application/x-www-form-urlencoded` body, after those of the agent.
    Form {
        /// The field's name.
        name: String,
    },
    /// A header with the HMAC-SHA-256 of `message`, keyed by the secret.
    SignatureHeader {
        /// The header's name.
        name: String,
        /// What is signed.
        message: Bytes,
        /// How the signature is written.
        encoding: Encoding,
    },
    /// A query parameter with the HMAC-SHA-256 of `message`, keyed by the secret.
    SignatureQuery {
        /// The parameter's name.
        name: String,
        /// What is signed.
        message: Bytes,
        /// How the signature is written.
        encoding: Encoding,
    },
}

/// The head and body of a request with its secrets in.
pub(super) struct Filled {
    pub(super) target: Zeroizing<String>,
    pub(super) headers: Vec<(String, HeaderValue)>,
    pub(super) body: Bytes,
    /// Signatures: what the scan of the response looks for besides the secrets.
    pub(super) derived: Vec<(SecretName, Zeroizing<String>)>,
}

impl Placement {
    /// Refuses what could not be sent as it was shown.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.place {
            Place::Header { name, format } => {
                headers::check_name(name)?;
                let text = format.replacen("{}", "", 1);
                if format.matches("{}").count() != 1 || HeaderValue::from_str(&text).is_err() {
                    return Err(Error::Invalid(format!(
                        "{format:?} is not a header format such as `Bearer {{}}`"
                    )));
                }
                limit("a header format", format.len(), 1024)
            }
            Place::Query { name } | Place::Form { name } => check_parameter(name),
            Place::Basic { user } => {
                if user.contains(':') || user.chars().any(char::is_control) {
                    return Err(Error::Invalid(
                        "a user name has neither colons nor control characters".to_owned(),
                    ));
                }
                limit("a user name", user.len(), 1024)
            }
            Place::SignatureHeader { name, message, .. } => {
                headers::check_name(name)?;
                limit("a message to sign", message.len(), 64 * 1024)
            }
            Place::SignatureQuery { name, message, .. } => {
                check_parameter(name)?;
                limit("a message to sign", message.len(), 64 * 1024)
            }
        }
    }

    /// What a person sees: everything but the value.
    pub(super) fn shown(&self) -> Value {
        let secret = self.secret.as_str();
        match &self.place {
            Place::Header { name, format } => {
                json!({ "secret": secret, "place": "header", "name": name, "format": format })
            }
            Place::Query { name } => json!({ "secret": secret, "place": "query", "name": name }),
            Place::Basic { user } => json!({ "secret": secret, "place": "basic", "user": user }),
            Place::Form { name } => json!({ "secret": secret, "place": "form", "name": name }),
            Place::SignatureHeader {
                name,
                message,
                encoding,
            } => json!({
                "secret": secret, "place": "signature-header", "name": name,
                "message": show(message), "encoding": encoding.as_str(),
            }),
            Place::SignatureQuery {
                name,
                message,
                encoding,
            } => json!({
                "secret": secret, "place": "signature-query", "name": name,
                "message": show(message), "encoding": encoding.as_str(),
            }),
        }
    }

    pub(super) fn header_name(&self) -> Option<String> {
        match &self.place {
            Place::Header { name, .. } | Place::SignatureHeader { name, .. } => {
                Some(name.to_ascii_lowercase())
            }
            Place::Basic { .. } => Some("authorization".to_owned()),
            _ => None,
        }
    }

    /// How large a header the placement makes, as far as the agent has a say in it.
    pub(super) fn header_size(&self) -> Option<usize> {
        match &self.place {
            Place::Header { name, format } => Some(name.len() + format.len()),
            Place::SignatureHeader { name, .. } => Some(name.len()),
            Place::Basic { user } => Some("authorization".len() + user.len()),
            _ => None,
        }
    }

    pub(super) fn query_name(&self) -> Option<&str> {
        match &self.place {
            Place::Query { name } | Place::SignatureQuery { name, .. } => Some(name),
            _ => None,
        }
    }

    pub(super) fn supplied(&self) -> impl Iterator<Item = &[u8]> {
        let texts: [&[u8]; 2] = match &self.place {
            Place::Header { name, format } => [name.as_bytes(), format.as_bytes()],
            Place::Query { name } | Place::Form { name } => [name.as_bytes(), b""],
            Place::Basic { user } => [user.as_bytes(), b""],
            Place::SignatureHeader { name, message, .. }
            | Place::SignatureQuery { name, message, .. } => [name.as_bytes(), message],
        };
        texts.into_iter()
    }

    /// Refuses an origin that the operator has not named for the secret.
    pub(super) fn meant_for(&self, origin: &Origin, secret: &Secret) -> Result<(), Error> {
        if secret.allows(origin) {
            return Ok(());
        }
        let name = &self.secret;
        Err(Error::Forbidden(format!(
            "the operator does not let the secret `{name}` be sent to {origin}"
        )))
    }

    /// Whether the value can stand where it is wanted.
    pub(super) fn fits(&self, secret: &Secret) -> Result<(), Error> {
        let (fits, carrier) = match &self.place {
            Place::Header { name, .. } => (
                HeaderValue::from_str(secret.expose()).is_ok(),
                name.as_str(),
            ),
            Place::Basic { .. } => (
                !secret.expose().chars().any(char::is_control),
                "authorization",
            ),
            // Encoded, or only signed with.
            _ => return Ok(()),
        };
        if !fits {
            return Err(Error::Invalid(format!(
                "the secret `{}` has characters that the header {carrier} can't carry",
                self.secret
            )));
        }
        Ok(())
    }
}

/// Puts the secrets in, in the order of the placements; `secrets` has one for each.
pub(super) fn fill(request: &Request, secrets: &[Secret]) -> Result<Filled, Error> {
    let mut target = Zeroizing::new(request.target.as_str().to_owned());
    let mut headers = Vec::with_capacity(request.headers.len() + secrets.len());
    for (name, value) in &request.headers {
        headers.push((
            name.clone(),
            HeaderValue::from_bytes(value).map_err(|_| unsendable(name))?,
        ));
    }
    let mut body = Zeroizing::new(Vec::new());
    let mut derived = Vec::new();
    let mut query = |name: &str, value: &str| {
        let separator = if target.contains('?') { '&' } else { '?' };
        target.push(separator);
        push_encoded(&mut target, name);
        target.push('=');
        push_encoded(&mut target, value);
    };
    for (placement, secret) in request.placements.iter().zip(secrets) {
        match &placement.place {
            Place::Header { name, format } => {
                let value = Zeroizing::new(format.replacen("{}", secret.expose(), 1));
                headers.push((name.clone(), sensitive(name, &value)?));
            }
            Place::Query { name } => query(name, secret.expose()),
            Place::Basic { user } => {
                let pair = Zeroizing::new(format!("{user}:{}", secret.expose()));
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                headers.push((
                    "authorization".to_owned(),
                    sensitive("authorization", &value)?,
                ));
            }
            Place::Form { name } => {
                let mut field = Zeroizing::new(String::new());
                push_encoded(&mut field, name);
                field.push('=');
                push_encoded(&mut field, secret.expose());
                if !(body.is_empty() && request.body.is_empty()) {
                    body.push(b'&');
                }
                body.extend_from_slice(field.as_bytes());
            }
            Place::SignatureHeader {
                name,
                message,
                encoding,
            } => {
                let signature = sign(secret, message, *encoding);
                headers.push((name.clone(), sensitive(name, &signature)?));
                derived.push((placement.secret.clone(), signature));
            }
            Place::SignatureQuery {
                name,
                message,
                encoding,
            } => {
                let signature = sign(secret, message, *encoding);
                query(name, &signature);
                derived.push((placement.secret.clone(), signature));
            }
        }
    }
    let form = request
        .placements
        .iter()
        .any(|placement| matches!(placement.place, Place::Form { .. }));
    if form && request.given("content-type").is_none() {
        headers.push((
            "content-type".to_owned(),
            HeaderValue::from_bytes(FORM).map_err(|_| unsendable("content-type"))?,
        ));
    }
    let body = if body.is_empty() {
        request.body.clone()
    } else {
        Bytes::from([&request.body, body.as_slice()].concat())
    };
    Ok(Filled {
        target,
        headers,
        body,
        derived,
    })
}

/// What the agent's own form or query names, decoded.
pub(super) fn names(encoded: &[u8]) -> Vec<Vec<u8>> {
    url::form_urlencoded::parse(encoded)
        .map(|(name, _)| name.into_owned().into_bytes())
        .collect()
}

impl Encoding {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }
}

fn sign(secret: &Secret, message: &[u8], encoding: Encoding) -> Zeroizing<String> {
    // HMAC takes keys of every length.
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .map(|mac| mac.chain_update(message).finalize().into_bytes());
    let bytes = mac.map(|bytes| bytes.to_vec()).unwrap_or_default();
    Zeroizing::new(match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    })
}

/// Percent-encodes all but RFC 3986's unreserved characters: right in queries and in forms alike.
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

fn sensitive(name: &str, value: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(value).map_err(|_| unsendable(name))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unsendable(name: &str) -> Error {
    Error::Invalid(format!("the header {name} can't be sent"))
}

fn check_parameter(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "{name:?} is not the name of a parameter"
        )));
    }
    limit("the name of a parameter", name.len(), 256)
}

fn limit(what: &str, length: usize, max: usize) -> Result<(), Error> {
    if length > max {
        return Err(Error::Invalid(format!("{what} has at most {max} bytes")));
    }
    Ok(())
}
