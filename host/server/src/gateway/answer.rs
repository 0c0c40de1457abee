//! Answers as JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use tonic::Status;
use tonic::body::Body;

use crate::fault::Fault;
use crate::head;

/// ProtoJSON, with the fields that are at their default written out: a script then needs no case for
/// what is empty.
const OPTIONS: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

/// A message as JSON text.
pub(super) fn text(descriptor: MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Status> {
    let message = DynamicMessage::decode(descriptor, message)
        .map_err(|error| Status::from(Fault::internal(&error)))?;
    let mut json = serde_json::Serializer::new(Vec::new());
    let written = message.serialize_with_options(&mut json, &OPTIONS);
    written.map_err(|error| Fault::internal(&error))?;
    Ok(json.into_inner())
}

/// An answer that is this JSON.
pub(super) fn json(value: &Value) -> Response<Body> {
    written(value.to_string().into())
}

/// An answer that is this text, which is JSON.
pub(super) fn written(text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(text)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    guard(headers);
    response
}

/// Nothing guesses what an answer is, keeps it, or shows it as a page.
pub(super) fn guard(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Passes on where the audit trail stood.
pub(super) fn pass_head(from: &HeaderMap, response: &mut Response<Body>) {
    if let Some(head) = from.get(head::HEADER) {
        response.headers_mut().insert(head::HEADER, head.clone());
    }
}
