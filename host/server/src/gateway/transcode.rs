//! Requests on their way to being messages.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use http_body_util::{BodyDataStream, BodyExt as _, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use tonic::body::Body;
use tonic::{Code, Status};

use super::call::{internal, lazy};
use super::frame::frame;
use super::query;
use super::routes::Payload;
use crate::fault::Fault;

/// The largest body that is JSON, as it is for a message.
pub(super) const MAX_BODY: usize = crate::serve::MAX_MESSAGE;
/// How long a JSON body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// What a request says outside its body.
#[derive(Debug)]
pub(super) struct Said {
    /// Fields that the path gives.
    pub(super) path: Vec<(String, String)>,
    /// The query, as it came.
    pub(super) query: String,
    /// Where a stream is to go on: a field of the request, and its value.
    pub(super) resume: Option<(String, String)>,
}

/// The message, made when the method asks for it.
pub(super) fn message(input: MessageDescriptor, payload: &Payload, said: Said, body: Body) -> Body {
    match payload {
        Payload::Upload => upload(input, said, body),
        Payload::Nothing => lazy(async move { frame(&outside(&input, &said)?.encode_to_vec()) }),
        Payload::Message => lazy(async move {
            if !said.query.is_empty() {
                let message = "this method takes everything in its body; leave the query out";
                return Err(Fault::invalid("query", message).into());
            }
            let bytes = read(body).await?;
            let message = parse(&input, &bytes)?;
            let outside = outside(&input, &said)?;
            agree(&message, &outside, &said)?;
            join(&message, &outside)
        }),
        Payload::Field(name) => {
            let name = name.clone();
            lazy(async move {
                let bytes = read(body).await?;
                let field = input.get_field_by_name(&name);
                let inner = field.as_ref().and_then(|field| match field.kind() {
                    Kind::Message(inner) => Some(inner),
                    _ => None,
                });
                let (Some(field), Some(inner)) = (field, inner) else {
                    return Err(internal("a body that is no message"));
                };
                let mut message = DynamicMessage::new(input.clone());
                message.set_field(&field, Value::Message(parse(&inner, &bytes)?));
                join(&message, &outside(&input, &said)?)
            })
        }
    }
}

fn outside(input: &MessageDescriptor, said: &Said) -> Result<DynamicMessage, Status> {
    let mut fields = query::fields(input, &said.path, &said.query)?;
    if let Some(resume) = &said.resume {
        // What was received last is newer than what the address says.
        let newer = query::fields(input, std::slice::from_ref(resume), "")?;
        let merged = fields.merge(newer.encode_to_vec().as_slice());
        merged.map_err(|error| Fault::internal(&error))?;
    }
    Ok(fields)
}

/// One message of two: bytes of messages that stand behind one another are merged.
fn join(message: &DynamicMessage, outside: &DynamicMessage) -> Result<Bytes, Status> {
    let mut bytes = message.encode_to_vec();
    bytes.extend(outside.encode_to_vec());
    frame(&bytes)
}

/// Refuses a body that names another thing than the path.
fn agree(body: &DynamicMessage, path: &DynamicMessage, said: &Said) -> Result<(), Status> {
    for (field, value) in &said.path {
        let differs = body.has_field_by_name(field)
            && body.get_field_by_name(field) != path.get_field_by_name(field);
        if differs {
            let message = format!("the path says {value:?}; leave it out of the body");
            return Err(Fault::invalid(field, message).into());
        }
    }
    Ok(())
}

/// The whole body, as far as it is no larger and no slower than it may be.
pub(super) async fn read(body: Body) -> Result<Bytes, Status> {
    let arriving = tokio::time::timeout(ARRIVAL, Limited::new(body, MAX_BODY).collect());
    let fault = match arriving.await {
        Ok(Ok(read)) => return Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Fault::exhausted(
            "MESSAGE_TOO_LARGE",
            format!("a body may have {} MiB", MAX_BODY >> 20),
        ),
        Ok(Err(_)) => Fault::new(Code::Cancelled, "BODY_CUT", "the body did not arrive whole"),
        Err(_) => {
            let message = format!(
                "the body has not arrived within {} seconds",
                ARRIVAL.as_secs()
            );
            Fault::new(Code::DeadlineExceeded, "BODY_TOO_SLOW", message)
        }
    };
    Err(fault.into())
}

/// ProtoJSON; nothing is an empty object.
fn parse(message: &MessageDescriptor, bytes: &[u8]) -> Result<DynamicMessage, Status> {
    if bytes.is_empty() {
        return Ok(DynamicMessage::new(message.clone()));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = DynamicMessage::deserialize(message.clone(), &mut json)
        .and_then(|message| json.end().map(|()| message));
    read.map_err(|error| no_json(message.name(), &error))
}

/// What is wrong with a body, without its content.
pub(super) fn no_json(what: &str, error: &serde_json::Error) -> Status {
    let message = format!("the body is no {what} in JSON: {error}");
    Fault::invalid_as("INVALID_JSON", "body", message).into()
}

/// A body of bytes as the messages of a client's stream: first what the query says, then the bytes.
fn upload(input: MessageDescriptor, said: Said, body: Body) -> Body {
    let Some((head, chunk)) = shape(&input) else {
        return lazy(async { Err(internal("a stream that takes no bytes")) });
    };
    let first = {
        let input = input.clone();
        async move {
            let Kind::Message(fields) = head.kind() else {
                return Err(internal("a stream without a head"));
            };
            let mut message = DynamicMessage::new(input);
            message.set_field(&head, Value::Message(outside(&fields, &said)?));
            frame(&message.encode_to_vec())
        }
    };
    let rest = BodyDataStream::new(body)
        .map_err(|_| Fault::new(Code::Cancelled, "BODY_CUT", "the body did not arrive whole"))
        .map(move |bytes| {
            let mut message = DynamicMessage::new(input.clone());
            message.set_field(&chunk, Value::Bytes(bytes.map_err(Status::from)?));
            frame(&message.encode_to_vec())
        });
    let frames = stream::once(first).chain(rest).map_ok(Frame::data);
    Body::new(StreamBody::new(frames))
}

/// The fields of an upload's message: the one that comes first, and the one with bytes.
pub(super) fn shape(input: &MessageDescriptor) -> Option<(FieldDescriptor, FieldDescriptor)> {
    let head = input
        .fields()
        .find(|field| matches!(field.kind(), Kind::Message(_)))?;
    let chunk = input
        .fields()
        .find(|field| matches!(field.kind(), Kind::Bytes))?;
    Some((head, chunk))
}

/// What the body of a request has to be, if it has one.
pub(super) fn media_type(
    payload: &Payload,
    content: Option<&str>,
    empty: bool,
) -> Result<(), (StatusCode, &'static str)> {
    let essence = content.map(|content| {
        let essence = content.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    });
    let wrong = |reason| Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    match (payload, essence.as_deref()) {
        (Payload::Nothing, _) if empty => Ok(()),
        (Payload::Nothing, _) => Err((StatusCode::BAD_REQUEST, "this method takes no body")),
        (Payload::Upload, Some("application/wasm")) => Ok(()),
        (Payload::Upload, _) => wrong("the content-type of a component is application/wasm"),
        (_, Some("application/json")) => Ok(()),
        (_, None) if empty => Ok(()),
        _ => wrong("the content-type of a body is application/json"),
    }
}
