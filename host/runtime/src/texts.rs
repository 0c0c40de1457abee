//! JSON texts that come in and go out, held to what the agent's manifest says of them.

use nexus_manifest::{Schema, Violation};

use crate::limits::{HostLimits, Limit};
use crate::outcome::Outcome;

/// The first few violations in a line.
pub(crate) fn describe(violations: &[Violation]) -> String {
    violations
        .iter()
        .take(5)
        .map(|violation| match violation.path.as_str() {
            "" => violation.message.clone(),
            path => format!("at {path}: {}", violation.message),
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// Checks a JSON text against a schema, or only that it is JSON.
pub(crate) fn check(schema: Option<&Schema>, text: &str) -> Result<(), Vec<Violation>> {
    let not_json = |error: serde_json::Error| {
        vec![Violation {
            path: String::new(),
            message: format!("it is not JSON: {error}"),
        }]
    };
    match schema {
        None => {
            serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(not_json)?;
            if depth(text) > DEPTH {
                let message = format!("it is nested more than {DEPTH} levels deep");
                return Err(vec![Violation {
                    path: String::new(),
                    message,
                }]);
            }
            Ok(())
        }
        Some(schema) => schema.check(&serde_json::from_str(text).map_err(not_json)?),
    }
}

/// Arrays and objects within each other: as many as `serde_json` takes, so that a text without a
/// schema is held to the same as one with a schema, and nobody downstream is handed a deeper one.
const DEPTH: usize = 127;

/// How deep a JSON text is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Holds an answer to the agent's own promise.
pub(crate) fn checked(outcome: Outcome, schema: Option<&Schema>, limits: &HostLimits) -> Outcome {
    if outcome.weight() > limits.output_bytes
        && matches!(outcome, Outcome::Success(_) | Outcome::Failure { .. })
    {
        return Outcome::Exhausted {
            limit: Limit::Output,
            message: format!(
                "the answer has {} bytes; the limit is {}",
                outcome.weight(),
                limits.output_bytes
            ),
        };
    }
    match outcome {
        Outcome::Success(output) => match check(schema, &output) {
            Ok(()) => Outcome::Success(output),
            Err(violations) => Outcome::Failure {
                code: "invalid-output".to_owned(),
                message: format!("the agent's answer does not fit: {}", describe(&violations)),
            },
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_be_as_deep_without_a_schema_as_with_one() {
        for levels in [1, DEPTH, DEPTH + 1, 100_000] {
            let text = "[".repeat(levels) + &"]".repeat(levels);
            assert_eq!(depth(&text), levels);
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            assert_eq!(check(None, &text).is_ok(), parsed.is_ok(), "{levels}");
        }
        assert_eq!(depth(r#"{"a[[[": "\"[[[", "b": [{}]}"#), 3);
    }
}
