//! The way of a request, from its first byte to its answer.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Body as _;
use tonic::body::Body;
use tonic::{Code, Status};

use super::call::{Sender, lazy};
use super::published::Published;
use super::routes::{Found, Missing, Payload};
use super::transcode::{self, Said};
use super::{Stack, Table, answer, openapi, sse, status};
use crate::fault::Fault;

/// Bytes of request headers, as for gRPC.
const MAX_HEADERS: usize = crate::serve::MAX_HEADERS as usize;
/// In how many seconds the client wants its answer, as Google's services call it.
const DEADLINE: &str = "x-server-timeout";
/// A path that no service has: who may not know that is told so first.
const NOWHERE: &str = "/nexus.v1/Nowhere";

/// Answers a request, whatever it is.
pub(super) async fn answer<S: Stack>(
    stack: S,
    table: &Table,
    request: Request<Body>,
) -> Response<Body> {
    if let Err(refused) = guard(table, &request) {
        return *refused;
    }
    let deadline = match deadline(request.headers()) {
        Ok(deadline) => deadline,
        Err(fault) => return status::error(&Status::from(*fault)),
    };
    let (parts, body) = request.into_parts();
    let answering = Box::pin(dispatch(stack, table, parts, body));
    match deadline {
        None => answering.await,
        Some(deadline) => match tokio::time::timeout(deadline, answering).await {
            Ok(response) => response,
            Err(_) => status::error(&Status::from(Fault::new(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "there was no answer in the time that x-server-timeout gives",
            ))),
        },
    }
}

/// Refuses what a page in a browser could have sent, and what is too large, before it is read.
fn guard(table: &Table, request: &Request<Body>) -> Result<(), Box<Response<Body>>> {
    if let Err((code, reason)) = table.names.check_sender(request) {
        let fault = Fault::new(Code::PermissionDenied, "FROM_A_BROWSER", reason);
        return Err(Box::new(status::fault(code, fault)));
    }
    let fields = request.headers().iter();
    let bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    if bytes + request.uri().path().len() + request.uri().query().map_or(0, str::len) > MAX_HEADERS
    {
        let fault = Fault::exhausted("HEADERS_TOO_LARGE", "the headers are larger than 16 KiB");
        let code = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Box::new(status::fault(code, fault)));
    }
    Ok(())
}

fn deadline(headers: &http::HeaderMap) -> Result<Option<Duration>, Box<Fault>> {
    // The transport would answer in gRPC's own form when it has passed.
    if headers.contains_key("grpc-timeout") {
        let message = format!("it is of gRPC; send {DEADLINE} with a number of seconds");
        return Err(Box::new(Fault::invalid("grpc-timeout", message)));
    }
    let Some(value) = headers.get(DEADLINE) else {
        return Ok(None);
    };
    let seconds = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    let deadline = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    deadline.map(Some).ok_or_else(|| {
        Box::new(Fault::invalid(
            DEADLINE,
            "write a number of seconds, such as 2.5",
        ))
    })
}

async fn dispatch<S: Stack>(stack: S, table: &Table, parts: Parts, body: Body) -> Response<Body> {
    let path = parts.uri.path();
    if path == openapi::PATH {
        // It says nothing that the protos do not say.
        return match parts.method {
            Method::GET => answer::written(table.openapi.clone()),
            _ => wrong_verb(&[&Method::GET]),
        };
    }
    if let Some((published, verb)) = Published::find(path) {
        if parts.method != *verb {
            return wrong_verb(&[verb]);
        }
        let payload = match *verb {
            Method::GET => Payload::Nothing,
            _ => Payload::Message,
        };
        return match media_type(&payload, &parts, &body) {
            Ok(()) => published.answer(stack, &parts, body, table.model).await,
            Err(refused) => *refused,
        };
    }
    match table.routes.find(&parts.method, path) {
        Ok(found) => {
            let payload = &found.route.payload;
            match media_type(payload, &parts, &body) {
                Ok(()) => call(stack, &found, &parts, body).await,
                Err(refused) => *refused,
            }
        }
        Err(Missing::Verb(others)) => wrong_verb(&others),
        Err(Missing::Path) => nowhere(stack, &parts).await,
    }
}

fn media_type(payload: &Payload, parts: &Parts, body: &Body) -> Result<(), Box<Response<Body>>> {
    let content = parts.headers.get(header::CONTENT_TYPE);
    let content = match content.map(HeaderValue::to_str) {
        Some(Ok(content)) => Some(content),
        Some(Err(_)) => Some(""),
        None => None,
    };
    transcode::media_type(payload, content, body.is_end_stream()).map_err(|(code, reason)| {
        let fault = Fault::new(Code::InvalidArgument, "WRONG_CONTENT_TYPE", reason);
        Box::new(status::fault(code, fault))
    })
}

async fn call<S: Stack>(stack: S, found: &Found<'_>, parts: &Parts, body: Body) -> Response<Body> {
    let method = &found.route.method;
    let owned = |(field, value): &(&str, String)| ((*field).to_owned(), value.clone());
    let last = parts
        .headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok());
    let said = Said {
        path: found.fields.iter().map(owned).collect(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        resume: sse::resumes(method)
            .zip(last.filter(|id| !id.is_empty()))
            .map(|(field, id)| (field.to_owned(), id.to_owned())),
    };
    let message = transcode::message(method.input(), &found.route.payload, said, body);
    let sender = Sender::of(parts);
    if method.is_server_streaming() {
        return match sender.send(stack, &found.route.rpc, message).await {
            Ok(stream) => sse::respond(method, stream),
            Err(error) => status::error(&error),
        };
    }
    let answered = match sender.unary(stack, &found.route.rpc, message).await {
        Ok(reply) => answer::text(method.output(), reply.message)
            .map(|text| (answer::written(text.into()), reply.headers)),
        Err(error) => Err(error),
    };
    match answered {
        Ok((mut response, headers)) => {
            answer::pass_head(&headers, &mut response);
            response
        }
        Err(error) => status::error(&error),
    }
}

/// The path is there, for other methods. No answer names an origin that may call: there is none.
fn wrong_verb(others: &[&Method]) -> Response<Body> {
    let allowed: Vec<&str> = others.iter().map(|verb| verb.as_str()).collect();
    let allowed = allowed.join(", ");
    let fault = Fault::new(
        Code::Unimplemented,
        "METHOD_NOT_ALLOWED",
        format!("this path takes {allowed}"),
    );
    let mut response = status::fault(StatusCode::METHOD_NOT_ALLOWED, fault);
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// No token, no answer: the doors say first whether the sender may know that there is nothing.
async fn nowhere<S: Stack>(stack: S, parts: &Parts) -> Response<Body> {
    let empty = lazy(async { super::frame::frame(&[]) });
    let refused = Sender::of(parts).send(stack, NOWHERE, empty).await;
    match refused {
        Err(status) if !matches!(status.code(), Code::PermissionDenied | Code::Unimplemented) => {
            status::error(&status)
        }
        _ => {
            let path: String = parts.uri.path().chars().take(200).collect();
            let message = format!("there is no path {path:?}; /openapi.json lists them");
            let fault = Fault::new(Code::NotFound, "NO_SUCH_PATH", message);
            status::error(&Status::from(fault))
        }
    }
}
