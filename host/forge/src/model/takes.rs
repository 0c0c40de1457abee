//! What an endpoint takes of the ways in which it can be asked.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// How the shape of an answer is asked for, the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// A JSON Schema that the endpoint has to hold the model to.
    Strict,
    /// A JSON Schema.
    Schema,
    /// That it is JSON.
    Object,
    /// By the prompt alone.
    Words,
}

/// What an endpoint has taken so far. Endpoints of the same kind differ in it, and there is no way to
/// ask them but to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    form: Form,
    /// It counts tokens in the stream.
    usage: bool,
    temperature: bool,
    /// It calls the limit on an answer as the first of its kind did.
    max_tokens: bool,
}

/// The newest that an endpoint took. Kept as long as the host runs.
#[derive(Debug)]
pub(super) struct Takes(Mutex<Shape>);

/// The shape of an answer.
#[derive(Debug)]
pub(crate) struct Format {
    /// Its name.
    pub(crate) name: &'static str,
    /// As endpoints want it that hold the model to it.
    pub(crate) strict: Value,
    /// As it is.
    pub(crate) schema: Value,
}

impl Default for Takes {
    fn default() -> Self {
        Self(Mutex::new(Shape {
            form: Form::Strict,
            usage: true,
            temperature: true,
            max_tokens: true,
        }))
    }
}

impl Takes {
    pub(super) fn shape(&self) -> Shape {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asked like this, the endpoint has answered.
    pub(super) fn took(&self, shape: Shape) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shape;
    }
}

impl Shape {
    /// What to ask for instead, after the endpoint has refused this with these words. `None`: there
    /// is nothing left to give up.
    pub(super) fn instead(self, format: bool, refusal: &str) -> Option<Self> {
        let mut next = self;
        // Where the endpoint names what it does not like, that goes first.
        if self.max_tokens && refusal.contains("max_completion_tokens") {
            next.max_tokens = false;
        } else if self.temperature && refusal.contains("temperature") {
            next.temperature = false;
        } else if self.usage && refusal.contains("stream_options") {
            next.usage = false;
        } else if format && self.form < Form::Words {
            next.form = match self.form {
                Form::Strict => Form::Schema,
                Form::Schema => Form::Object,
                Form::Object | Form::Words => Form::Words,
            };
        } else if self.usage {
            next.usage = false;
        } else {
            return None;
        }
        Some(next)
    }

    /// Adds to a request what is asked for in this shape.
    pub(super) fn ask(
        self,
        body: &mut Value,
        format: Option<&Format>,
        temperature: f64,
        tokens: u64,
    ) {
        let limit = match self.max_tokens {
            true => "max_tokens",
            false => "max_completion_tokens",
        };
        body[limit] = tokens.into();
        if self.temperature {
            body["temperature"] = temperature.into();
        }
        if self.usage {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let Some(format) = format else { return };
        let schema = match self.form {
            Form::Strict => {
                json!({ "name": format.name, "strict": true, "schema": format.strict })
            }
            Form::Schema => json!({ "name": format.name, "schema": format.schema }),
            Form::Object => {
                body["response_format"] = json!({ "type": "json_object" });
                return;
            }
            Form::Words => return,
        };
        body["response_format"] = json!({ "type": "json_schema", "json_schema": schema });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_names_is_given_up_first_and_there_is_an_end() {
        let mut shape = Takes::default().shape();
        let mut given_up = 0;
        for words in ["use max_completion_tokens", "temperature must be 1"] {
            shape = shape.instead(true, words).unwrap_or(shape);
        }
        assert!(!shape.max_tokens && !shape.temperature && shape.form == Form::Strict);
        while let Some(next) = shape.instead(true, "no") {
            shape = next;
            given_up += 1;
        }
        assert_eq!(given_up, 4, "three forms and the count of tokens");
        assert_eq!(shape.form, Form::Words);
    }
}
