//! The layer in front of every service.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response, header};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::role::roles_of;
use super::token::{Caller, Tokens};
use crate::fault::Fault;

/// Lets a request through if its token's role may call its method, with the [`Caller`] in the
/// request's extensions.
#[derive(Clone)]
pub struct AuthLayer {
    tokens: Arc<Tokens>,
}

/// See [`AuthLayer`].
#[derive(Clone)]
pub struct Auth<S> {
    inner: S,
    tokens: Arc<Tokens>,
}

impl AuthLayer {
    /// A layer that knows these tokens.
    pub fn new(tokens: Tokens) -> Self {
        Self {
            tokens: Arc::new(tokens),
        }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth {
            inner,
            tokens: Arc::clone(&self.tokens),
        }
    }
}

impl<S> Service<Request<Body>> for Auth<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match admit(&self.tokens, &request) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                Either::Left(self.inner.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

fn admit(tokens: &Tokens, request: &Request<Body>) -> Result<Option<Caller>, Status> {
    let path = request.uri().path();
    // Probes and reflection say nothing that the protos do not say.
    if path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.") {
        return Ok(None);
    }
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")))
        .ok_or_else(|| {
            Fault::unauthenticated("send `authorization: Bearer TOKEN`; the first start wrote one to operator.token in the data directory")
        })?;
    let caller = tokens.authenticate(token.trim()).ok_or_else(|| {
        Fault::unauthenticated(
            "this token is unknown, expired or revoked; ask the operator for a new one",
        )
    })?;
    let roles = roles_of(path);
    if roles.contains(&caller.role) {
        return Ok(Some(caller));
    }
    Err(Fault::role_not_allowed(caller.role, path, roles).into())
}
