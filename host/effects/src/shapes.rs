//! Which edits of an action can be carried out: a person may change what is sent, not what secrets go
//! with it, nor who is called.

use nexus_gate::{Action, Part};

use crate::http::Request;
use crate::memory::MAX_VALUE;

/// The edits that this crate carries out: method, target, headers and body of an http request, the
/// value of a memory write, the input of a peer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shapes;

impl nexus_gate::Shapes for Shapes {
    fn check(&self, asked: &Action, edited: &Action) -> Result<(), String> {
        match (asked.capability, asked.verb.as_str()) {
            ("http", _) => http(asked, edited),
            ("memory", "put" | "put-if") => {
                let value = one_part(asked, edited, "value")?;
                if value.bytes.len() > MAX_VALUE {
                    return Err(format!("a value has at most {MAX_VALUE} bytes"));
                }
                Ok(())
            }
            ("bus", "call") => {
                let input = one_part(asked, edited, "input")?;
                serde_json::from_slice::<serde_json::Value>(&input.bytes)
                    .map(|_| ())
                    .map_err(|error| format!("the input is not JSON: {error}"))
            }
            (capability, verb) => Err(format!("{capability} {verb} can't be edited")),
        }
    }
}

fn http(asked: &Action, edited: &Action) -> Result<(), String> {
    let secrets = |action: &Action| action.payload.fields.get("secrets").cloned();
    if secrets(asked) != secrets(edited) {
        return Err("the secrets of a request can't be edited".to_owned());
    }
    let request = Request::written(edited).map_err(|error| error.to_string())?;
    let mut payload = request.payload();
    if let (Some(secrets), Some(fields)) = (secrets(edited), payload.fields.as_object_mut()) {
        fields.insert("secrets".to_owned(), secrets);
    }
    if payload != edited.payload {
        return Err(
            "it would not be sent as it is written: fields are `headers`, each \"name: value\" with its \
             name in lower case, and the body's media type is that of its header"
                .to_owned(),
        );
    }
    Ok(())
}

/// The only part, where nothing else has changed.
fn one_part<'a>(asked: &Action, edited: &'a Action, name: &str) -> Result<&'a Part, String> {
    let same = edited.verb == asked.verb
        && edited.target == asked.target
        && edited.payload.fields == asked.payload.fields;
    match (
        edited.payload.parts.as_slice(),
        asked.payload.parts.as_slice(),
    ) {
        ([part], [before]) if same && part.name == name && part.media_type == before.media_type => {
            Ok(part)
        }
        _ => Err(format!("only the part `{name}` can be edited")),
    }
}
