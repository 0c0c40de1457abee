//! JSON Schemas of inputs and outputs.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// The largest schema, in bytes of its JSON text.
const MAX_BYTES: usize = 64 * 1024;
/// The deepest nesting of a schema.
const MAX_DEPTH: usize = 32;
/// How many violations are reported at most.
const MAX_VIOLATIONS: usize = 20;

/// A JSON Schema (2020-12 unless it says otherwise) that is safe to run on input from outside:
/// bounded in size and depth, with regular expressions that run in linear time and without
/// references to other documents.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    source: Value,
    text: String,
    validator: jsonschema::Validator,
}

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Larger than 64 KiB of JSON text.
    #[error("it is larger than 64 KiB")]
    TooLarge,
    /// Nested more than 32 levels deep.
    #[error("it is nested more than 32 levels deep")]
    TooDeep,
    /// Refers to another document.
    #[error("it refers to {0:?}; only references within the schema (`#...`) are followed")]
    RemoteReference(String),
    /// Not a schema.
    #[error("{0}")]
    Invalid(String),
}

/// One place where a value breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer into the value; empty for the value itself.
    pub path: String,
    /// What the schema wants there.
    pub message: String,
}

impl Schema {
    /// Compiles a schema.
    pub fn new(source: Value) -> Result<Self, SchemaError> {
        let text = source.to_string();
        if text.len() > MAX_BYTES {
            return Err(SchemaError::TooLarge);
        }
        inspect(&source, 0)?;
        let validator = jsonschema::options()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .offline()
            .build(&source)
            .map_err(|error| SchemaError::Invalid(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            source,
            text,
            validator,
        })))
    }

    /// Checks a value; the error lists at most 20 violations.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Violation>> {
        if self.0.validator.is_valid(value) {
            return Ok(());
        }
        Err(self
            .0
            .validator
            .iter_errors(value)
            .take(MAX_VIOLATIONS)
            .map(|error| Violation {
                path: error.instance_path().to_string(),
                message: error.to_string().chars().take(500).collect(),
            })
            .collect())
    }

    /// The schema as JSON.
    pub fn source(&self) -> &Value {
        &self.0.source
    }

    /// The schema as JSON text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

/// Refuses what is too deep and references that leave the document.
fn inspect(value: &Value, depth: usize) -> Result<(), SchemaError> {
    if depth > MAX_DEPTH {
        return Err(SchemaError::TooDeep);
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| inspect(item, depth + 1)),
        Value::Object(members) => {
            members
                .iter()
                .try_for_each(|(key, member)| match member.as_str() {
                    Some(reference)
                        if matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef")
                            && !reference.starts_with('#') =>
                    {
                        Err(SchemaError::RemoteReference(
                            reference.chars().take(200).collect(),
                        ))
                    }
                    _ => inspect(member, depth + 1),
                })
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.0.source).finish()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_violation_says_where_and_what() {
        let schema = Schema::new(json!({
            "type": "object", "required": ["symbol"],
            "properties": { "symbol": { "type": "string", "pattern": "^[A-Z]+$" } },
        }))
        .expect("schema");
        assert_eq!(schema.check(&json!({ "symbol": "ETH" })), Ok(()));
        let violations = schema
            .check(&json!({ "symbol": "eth" }))
            .expect_err("violation");
        assert_eq!(violations[0].path, "/symbol");
        assert!(violations[0].message.contains("^[A-Z]+$"), "{violations:?}");
        assert!(schema.check(&json!({})).is_err());
    }

    #[test]
    fn schemas_that_could_harm_the_host_are_refused() {
        let remote = Schema::new(json!({ "$ref": "https://example.com/schema.json" }));
        assert!(matches!(remote, Err(SchemaError::RemoteReference(_))));
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "not": deep });
        }
        assert_eq!(Schema::new(deep).err(), Some(SchemaError::TooDeep));
        let large = json!({ "description": "x".repeat(MAX_BYTES) });
        assert_eq!(Schema::new(large).err(), Some(SchemaError::TooLarge));
        assert!(Schema::new(json!({ "type": "strnig" })).is_err());
        let look_around = Schema::new(json!({ "pattern": "(?=a)(a+)+$" }));
        assert!(matches!(look_around, Err(SchemaError::Invalid(_))));
    }
}
