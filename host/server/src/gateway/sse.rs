//! Streams as `text/event-stream`: a message an event, an error an event, and one at the end.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor};
use tonic::body::Body;
use tonic::{Code, Status};

use super::frame::Frames;
use super::{answer, status};

/// How long a stream may be silent. A comment then tells proxies that it lives, and the host whether
/// anybody still listens.
const SILENCE: Duration = Duration::from_secs(15);
/// The field of a request that says after which event to go on, and the one of its messages.
const AFTER: &str = "after_sequence";
const SEQUENCE: &str = "sequence";

/// The field that says where a method's stream is to go on, if it can.
pub(super) fn resumes(method: &MethodDescriptor) -> Option<&'static str> {
    let number = |message: &MessageDescriptor, field: &str| {
        let field = message.get_field_by_name(field);
        field.is_some_and(|field| matches!(field.kind(), Kind::Uint64 | Kind::Int64))
    };
    let both = number(&method.input(), AFTER) && number(&method.output(), SEQUENCE);
    both.then_some(AFTER)
}

/// What a gRPC stream tells, as events.
pub(super) fn respond(method: &MethodDescriptor, response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let events = Events {
        output: method.output(),
        resumes: resumes(method).is_some(),
        body,
        frames: Frames::default(),
        over: false,
    };
    let events = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Status>(Frame::data(event)), events))
    });
    let mut response = Response::new(Body::new(StreamBody::new(events)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    answer::guard(headers);
    answer::pass_head(&parts.headers, &mut response);
    response
}

struct Events {
    output: MessageDescriptor,
    resumes: bool,
    body: Body,
    frames: Frames,
    over: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        match self.message().await {
            Ok(Some(event)) => Some(event),
            Ok(None) => {
                self.over = true;
                Some(Bytes::from_static(b"event: end\ndata: {}\n\n"))
            }
            Err(error) => {
                self.over = true;
                let error = status::body(&error).to_string();
                Some(event(b"event: error\n", error.as_bytes()))
            }
        }
    }

    /// The next message as an event, or a comment if there is none for a while.
    async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.frames.next()? {
                return self.event(message).map(Some);
            }
            let Ok(frame) = tokio::time::timeout(SILENCE, self.body.frame()).await else {
                return Ok(Some(Bytes::from_static(b": still there\n\n")));
            };
            let Some(frame) = frame.transpose()? else {
                return Ok(None);
            };
            match frame.into_data() {
                Ok(data) => self.frames.push(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return match Status::from_header_map(&trailers) {
                        Some(status) if status.code() != Code::Ok => Err(status),
                        _ => Ok(None),
                    };
                }
            }
        }
    }

    fn event(&self, message: Bytes) -> Result<Bytes, Status> {
        let mut head = Vec::new();
        if self.resumes
            && let Ok(read) = DynamicMessage::decode(self.output.clone(), message.clone())
        {
            let sequence = read.get_field_by_name(SEQUENCE);
            let number = sequence.and_then(|value| {
                let signed = value.as_i64().and_then(|number| u64::try_from(number).ok());
                value.as_u64().or(signed)
            });
            if let Some(number) = number {
                head.extend(format!("id: {number}\n").into_bytes());
            }
        }
        let text = answer::text(self.output.clone(), message)?;
        Ok(event(&head, &text))
    }
}

/// JSON is one line, so one `data:` does.
fn event(head: &[u8], data: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(head.len() + data.len() + 8);
    event.put_slice(head);
    event.put_slice(b"data: ");
    event.put_slice(data);
    event.put_slice(b"\n\n");
    event.freeze()
}
