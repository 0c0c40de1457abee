//! What path and query say, as fields of a message.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};
use tonic::Status;

use super::template::decode;
use crate::fault::Fault;

/// What is given from outside a body: the fields that the path gives, and those of the query.
pub(super) fn fields(
    message: &MessageDescriptor,
    path: &[(String, String)],
    query: &str,
) -> Result<DynamicMessage, Status> {
    let mut object = Map::new();
    for (field, value) in path {
        insert(&mut object, message, field, value.clone())?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name, true), decode(value, true)) else {
            return Err(Fault::invalid("query", "its percent signs do not decode to text").into());
        };
        insert(&mut object, message, &name, value)?;
    }
    let read = DynamicMessage::deserialize(message.clone(), Value::Object(object));
    read.map_err(|error| Fault::invalid("query", error.to_string()).into())
}

/// Puts a value where `page_size`, `pageSize` or `metadata.request_id` says.
fn insert(
    object: &mut Map<String, Value>,
    message: &MessageDescriptor,
    name: &str,
    text: String,
) -> Result<(), Status> {
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    let field = message
        .get_field_by_name(first)
        .or_else(|| message.get_field_by_json_name(first))
        .ok_or_else(|| unknown(name, message))?;
    let key = field.json_name().to_owned();
    if let Some(rest) = rest {
        let Some(inner) = inner(&field) else {
            return Err(unknown(name, message));
        };
        let below = object
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()));
        return match below {
            Value::Object(below) => insert(below, &inner, rest, text),
            _ => Err(twice(name)),
        };
    }
    let value = value(&field, name, text)?;
    if field.is_list() {
        let list = object
            .entry(key)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
        return Ok(());
    }
    match object.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(twice(name)),
    }
}

/// The message below a field, if it is one of ours.
fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner) if !field.is_list() && !field.is_map() => Some(inner),
        _ => None,
    }
}

fn value(field: &FieldDescriptor, name: &str, text: String) -> Result<Value, Status> {
    match field.kind() {
        Kind::Bool => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Fault::invalid(name, "write true or false").into()),
        },
        Kind::Enum(_) => Ok(match text.parse::<i32>() {
            Ok(number) => number.into(),
            Err(_) => text.into(),
        }),
        Kind::Message(inner) if !is_text(&inner) || field.is_map() => {
            let message = "it has fields of its own; name one of them, or use a method with a body";
            Err(Fault::invalid(name, message).into())
        }
        // Numbers may be texts in ProtoJSON.
        _ => Ok(text.into()),
    }
}

/// Messages that are a text in JSON.
fn is_text(message: &MessageDescriptor) -> bool {
    let texts = ["Timestamp", "Duration", "FieldMask"];
    let name = message.full_name().strip_prefix("google.protobuf.");
    name.is_some_and(|name| texts.contains(&name))
}

fn unknown(name: &str, message: &MessageDescriptor) -> Status {
    let fields: Vec<String> = message
        .fields()
        .map(|field| field.name().to_owned())
        .collect();
    let shown: String = name.chars().take(100).collect();
    let known = match fields.is_empty() {
        true => "it takes none".to_owned(),
        false => format!("there are {}", fields.join(", ")),
    };
    Fault::invalid(
        &shown,
        format!("this method has no such parameter; {known}"),
    )
    .into()
}

fn twice(name: &str) -> Status {
    Fault::invalid(name, "it is given more than once").into()
}
