//! What an action carries: fields for people to read, and the bytes that will be sent.

use bytes::Bytes;
use nexus_manifest::Digest;
use serde_json::Value;

/// The largest integer that every JSON implementation reads back unchanged.
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Nesting beyond this is refused: it is of no use to a person, and bounds every recursion.
const MAX_DEPTH: usize = 32;

/// The full payload of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// A JSON object: every field that a person must see. Strings, booleans, `null`, arrays, objects
    /// and integers of up to 53 bits; anything else is refused, because encoders disagree on it.
    /// Secrets stand here by name.
    pub fields: Value,
    /// The bytes. The one named `body` decides whether a declared read is one.
    pub parts: Vec<Part>,
}

/// Named bytes of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name, unique within the payload.
    pub name: String,
    /// The media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// Why an action has no canonical encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The fields are no JSON object.
    #[error("payload fields are not a JSON object")]
    NotAnObject,
    /// A number is no integer of up to 53 bits.
    #[error("{path}: {number} is not an integer of up to 53 bits; write it as a string")]
    Number {
        /// Where in the payload.
        path: String,
        /// The number.
        number: String,
    },
    /// The fields are nested too deeply.
    #[error("payload fields are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// Two parts have one name.
    #[error("two payload parts are named {0:?}")]
    DuplicatePart(String),
    /// The encoder failed.
    #[error("canonical encoding failed: {0}")]
    Encoder(String),
}

impl Payload {
    /// A payload of fields alone.
    pub fn new(fields: Value) -> Self {
        Self {
            fields,
            parts: Vec::new(),
        }
    }

    /// The same payload with one more part.
    #[must_use]
    pub fn with_part(
        mut self,
        name: impl Into<String>,
        media_type: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Self {
        self.parts.push(Part {
            name: name.into(),
            media_type: media_type.into(),
            bytes: bytes.into(),
        });
        self
    }

    /// The bytes of the part of this name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    pub(crate) fn check(&self) -> Result<(), EncodingError> {
        if !self.fields.is_object() {
            return Err(EncodingError::NotAnObject);
        }
        check_value(&self.fields, &mut String::from("fields"), 0)?;
        for (index, part) in self.parts.iter().enumerate() {
            if self.parts[..index]
                .iter()
                .any(|other| other.name == part.name)
            {
                return Err(EncodingError::DuplicatePart(part.name.clone()));
            }
        }
        Ok(())
    }
}

impl Part {
    /// The digest that stands for the bytes in the canonical encoding.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// Whether an integer is the same in every JSON implementation.
pub(crate) fn check_integer(number: u64, path: &str) -> Result<(), EncodingError> {
    if number > SAFE_INTEGER {
        return Err(EncodingError::Number {
            path: path.to_owned(),
            number: number.to_string(),
        });
    }
    Ok(())
}

fn check_value(value: &Value, path: &mut String, depth: usize) -> Result<(), EncodingError> {
    if depth > MAX_DEPTH {
        return Err(EncodingError::TooDeep);
    }
    let length = path.len();
    match value {
        Value::Number(number) => {
            let magnitude = match (number.as_u64(), number.as_i64()) {
                (Some(positive), _) => Some(positive),
                (None, Some(negative)) => Some(negative.unsigned_abs()),
                // A fraction or exponent, whatever its value.
                (None, None) => None,
            };
            if magnitude.is_none_or(|magnitude| magnitude > SAFE_INTEGER) {
                return Err(EncodingError::Number {
                    path: path.clone(),
                    number: number.to_string(),
                });
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                check_value(item, path, depth + 1)?;
                path.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                path.push('.');
                path.push_str(name);
                check_value(member, path, depth + 1)?;
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
}
