//! Calls of the host's own methods, on behalf of whoever sent a request.

use std::future::{Future, poll_fn};

use bytes::Bytes;
use futures::stream;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use super::Stack;
use super::frame::{Frames, frame};
use crate::fault::Fault;

/// Who sent a request: what of it the doors look at.
#[derive(Clone)]
pub(super) struct Sender {
    uri: Uri,
    headers: HeaderMap,
    extensions: http::Extensions,
}

/// The one message that a method answered with, and what came with it.
pub(super) struct Reply {
    pub(super) message: Bytes,
    pub(super) headers: HeaderMap,
}

impl Sender {
    pub(super) fn of(parts: &Parts) -> Self {
        let passed = [header::AUTHORIZATION, header::HOST];
        let mut headers: HeaderMap = passed
            .into_iter()
            .filter_map(|name| Some((name.clone(), parts.headers.get(&name)?.clone())))
            .collect();
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, grpc);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        Self {
            uri: parts.uri.clone(),
            headers,
            extensions: parts.extensions.clone(),
        }
    }

    /// Sends a call through the whole stack.
    pub(super) async fn send<S: Stack>(
        &self,
        mut stack: S,
        rpc: &str,
        body: Body,
    ) -> Result<Response<Body>, Status> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        let mut uri = self.uri.clone().into_parts();
        let path: PathAndQuery = rpc
            .parse()
            .map_err(|_| internal("a method without a path"))?;
        uri.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| internal("no URI"))?;
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        let Ok(()) = poll_fn(|cx| stack.poll_ready(cx)).await;
        let Ok(response) = stack.call(request).await;
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(response),
        }
    }

    /// Calls a method that answers with one message.
    pub(super) async fn unary<S: Stack>(
        &self,
        stack: S,
        rpc: &str,
        body: Body,
    ) -> Result<Reply, Status> {
        let response = self.send(stack, rpc, body).await?;
        let (parts, body) = response.into_parts();
        let collected = body.collect().await?;
        let status = collected.trailers().and_then(Status::from_header_map);
        match status {
            Some(status) if status.code() != Code::Ok => return Err(status),
            _ => {}
        }
        let mut frames = Frames::default();
        frames.push(&collected.to_bytes());
        let message = frames
            .next()?
            .ok_or_else(|| internal("an answer without a message"))?;
        Ok(Reply {
            message,
            headers: parts.headers,
        })
    }

    /// Calls a method of which the types are known.
    pub(super) async fn call<S, Q, A, F>(
        &self,
        stack: S,
        rpc: &str,
        message: F,
    ) -> Result<(A, HeaderMap), Status>
    where
        S: Stack,
        Q: Message,
        A: Message + Default,
        F: Future<Output = Result<Q, Status>> + Send + 'static,
    {
        let body = lazy(async move { frame(&message.await?.encode_to_vec()) });
        let reply = self.unary(stack, rpc, body).await?;
        let answer = A::decode(reply.message).map_err(|error| Fault::internal(&error))?;
        Ok((answer, reply.headers))
    }
}

/// A body of one frame that is made when it is asked for: after the doors have let the call in.
pub(super) fn lazy<F>(frame: F) -> Body
where
    F: Future<Output = Result<Bytes, Status>> + Send + 'static,
{
    let frames = stream::once(async move { frame.await.map(Frame::data) });
    Body::new(StreamBody::new(frames))
}

pub(super) fn internal(what: &'static str) -> Status {
    Fault::internal(&std::io::Error::other(what)).into()
}
