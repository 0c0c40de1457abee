//! Examples: what an agent is to answer, tried in the real runtime before anything is published.

use nexus_manifest::Schema;
use nexus_runtime::{Outcome, Prepared, Rehearsed, Runtime};
use serde_json::{Number, Value};

use crate::build::{Diagnostic, Level};

/// Bytes of a text that a finding shows.
const SHOWN: usize = 1_000;

/// What an agent is to answer to an input. Whatever it would do meanwhile happens to nobody.
#[derive(Debug, Clone)]
pub struct Example {
    /// The input and the world that the agent meets.
    pub world: nexus_runtime::Example,
    /// What the output has to hold: every member that is named, equal; others may be there.
    pub output: Option<Value>,
    /// What the output has to fit.
    pub schema: Option<Schema>,
}

/// What came of the examples.
#[derive(Debug, Clone, Default)]
pub struct Tested {
    /// How many there were.
    pub examples: usize,
    /// What the agent would have done in them, one line each.
    pub planned: Vec<String>,
}

/// Tries every example; the error says of each that failed how.
pub(crate) async fn run(
    runtime: &Runtime,
    prepared: &Prepared,
    examples: &[Example],
) -> Result<Tested, Vec<Diagnostic>> {
    let (mut found, mut planned) = (Vec::new(), Vec::new());
    for (place, example) in examples.iter().enumerate() {
        let checked = fits(prepared, &example.world.input);
        let ended = match checked {
            Ok(()) => {
                let rehearsed = runtime.rehearse(prepared, &example.world).await;
                planned.extend(rehearsed.planned.iter().cloned());
                judge(example, &rehearsed)
            }
            Err(why) => Err(why),
        };
        if let Err(why) = ended {
            let input = shown(&example.world.input);
            let message = format!("example {}, with the input {input}: {why}", place + 1);
            found.push(Diagnostic {
                level: Level::Error,
                code: Some("EXAMPLE".to_owned()),
                rendered: format!("error: {message}"),
                message,
                line: 0,
                column: 0,
            });
        }
    }
    match found.is_empty() {
        true => Ok(Tested {
            examples: examples.len(),
            planned,
        }),
        false => Err(found),
    }
}

/// Whether the agent takes this input.
pub(crate) fn fits(prepared: &Prepared, input: &str) -> Result<(), String> {
    let input: Value =
        serde_json::from_str(input).map_err(|error| format!("the input is not JSON: {error}"))?;
    let schema = prepared.manifest.input.as_ref();
    let Err(violations) = schema.map_or(Ok(()), |schema| schema.check(&input)) else {
        return Ok(());
    };
    let first = violations.first().map(ToString::to_string);
    Err(format!(
        "the input does not fit the agent's schema: {}",
        first.unwrap_or_default()
    ))
}

fn judge(example: &Example, rehearsed: &Rehearsed) -> Result<(), String> {
    let output = match &rehearsed.outcome {
        Outcome::Success(output) => output,
        Outcome::Failure { code, message } => {
            return Err(format!("the agent failed: {code}: {}", shown(message)));
        }
        Outcome::Exhausted { message, .. }
        | Outcome::Trapped { message }
        | Outcome::HostFault { message } => {
            return Err(format!("the agent broke: {}", shown(message)));
        }
        other => return Err(format!("the agent ended as {}", other.as_str())),
    };
    let value: Value =
        serde_json::from_str(output).map_err(|error| format!("the answer is not JSON: {error}"))?;
    if let Some(expected) = &example.output
        && let Err(place) = holds(expected, &value, "")
    {
        return Err(format!(
            "the answer differs at {place}: it is {}, and has to hold {}",
            shown(output),
            shown(&expected.to_string())
        ));
    }
    if let Some(schema) = &example.schema
        && let Err(violations) = schema.check(&value)
    {
        let first = violations.first().map(ToString::to_string);
        return Err(format!(
            "the answer {} does not fit: {}",
            shown(output),
            first.unwrap_or_default()
        ));
    }
    Ok(())
}

/// Whether `actual` holds all of `expected`; otherwise where it does not.
fn holds(expected: &Value, actual: &Value, place: &str) -> Result<(), String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            expected.iter().try_for_each(|(name, expected)| {
                let place = format!("{place}/{name}");
                match actual.get(name) {
                    Some(actual) => holds(expected, actual, &place),
                    None => Err(place),
                }
            })
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let mut pairs = expected.iter().zip(actual).enumerate();
            pairs.try_for_each(|(index, (expected, actual))| {
                holds(expected, actual, &format!("{place}/{index}"))
            })
        }
        (Value::Number(expected), Value::Number(actual)) if equal(expected, actual) => Ok(()),
        _ if expected == actual => Ok(()),
        _ if place.is_empty() => Err("its root".to_owned()),
        _ => Err(place.to_owned()),
    }
}

/// Whether two numbers are one, as JSON Schema has it: 20 and 20.0 are.
fn equal(one: &Number, other: &Number) -> bool {
    let whole = |number: &Number| number.is_i64() || number.is_u64();
    match whole(one) && whole(other) {
        true => one == other,
        false => one.as_f64() == other.as_f64(),
    }
}

/// A text cut to a bounded size.
pub(crate) fn shown(text: &str) -> String {
    let mut cut = text[..text.floor_char_boundary(SHOWN)].to_owned();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for (expected, actual, same) in [
            ("20", "20.0", true),
            ("0.5", "5e-1", true),
            ("9007199254740993", "9007199254740992", false),
            ("20", "20.5", false),
            ("20", "\"20\"", false),
        ] {
            let read = |text| serde_json::from_str::<Value>(text).expect("JSON");
            let held = holds(&read(expected), &read(actual), "");
            assert_eq!(held.is_ok(), same, "{expected} {actual}");
        }
    }

    #[test]
    fn an_answer_may_hold_more_than_is_named_and_nothing_else() {
        let expected = json!({ "a": { "b": [1, { "c": null }] } });
        let more = json!({ "a": { "b": [1, { "c": null, "d": 2 }], "e": 3 }, "f": 4 });
        assert_eq!(holds(&expected, &more, ""), Ok(()));
        for (other, place) in [
            (json!({}), "/a"),
            (json!({ "a": { "b": [1] } }), "/a/b"),
            (json!({ "a": { "b": [1, {}] } }), "/a/b/1/c"),
            (json!({ "a": { "b": [2, { "c": null }] } }), "/a/b/0"),
            (json!(7), "its root"),
        ] {
            assert_eq!(
                holds(&expected, &other, ""),
                Err(place.to_owned()),
                "{other}"
            );
        }
    }
}
