//! The same services as JSON over HTTP, on the same port.
//!
//! Nothing is decided here. A request is written down as the gRPC call that its `google.api.http`
//! rule names and sent through the very stack that serves gRPC: doors, roles, rates, audit, service.
//! Its body is read only when the method asks for its message, so whoever may not call it has sent
//! their bytes for nothing. The answer is written down as JSON, or as events if it is a stream.

mod answer;
mod call;
mod entry;
mod frame;
mod openapi;
mod published;
mod query;
mod routes;
mod sse;
mod status;
mod template;
mod transcode;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use prost_reflect::DescriptorPool;
use tonic::body::Body;
use tower::{Layer, Service};

use self::routes::Routes;
use crate::doors::Names;

/// Where everything that is no gRPC lives.
const PREFIXES: [&str; 3] = ["/v1/", "/api/v1/", openapi::PATH];

/// Serves JSON in front of a stack that serves gRPC.
#[derive(Clone)]
pub(crate) struct GatewayLayer(Arc<Table>);

/// See [`GatewayLayer`].
#[derive(Clone)]
pub(crate) struct Gateway<S> {
    inner: S,
    table: Arc<Table>,
}

/// What it knows.
struct Table {
    names: Names,
    routes: Routes,
    /// The document of all paths.
    openapi: Bytes,
    /// Whether a language model writes agents here.
    model: bool,
}

/// The stack that serves gRPC.
trait Stack:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Stack for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

impl GatewayLayer {
    /// For a listener that is called by these names, on a host that has a language model or not;
    /// fails if the contract's own rules do not read.
    pub(crate) fn new(names: Names, model: bool) -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(nexus_proto::DESCRIPTOR_SET)?;
        let routes = Routes::of(&pool)?;
        Ok(Self(Arc::new(Table {
            names,
            openapi: openapi::document(&pool, &routes),
            routes,
            model,
        })))
    }
}

impl<S> Layer<S> for GatewayLayer {
    type Service = Gateway<S>;

    fn layer(&self, inner: S) -> Gateway<S> {
        Gateway {
            inner,
            table: Arc::clone(&self.0),
        }
    }
}

impl<S: Stack> Service<Request<Body>> for Gateway<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if !PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
            return Box::pin(self.inner.call(request));
        }
        let (inner, table) = (self.inner.clone(), Arc::clone(&self.table));
        Box::pin(async move { Ok(entry::answer(inner, &table, request).await) })
    }
}
