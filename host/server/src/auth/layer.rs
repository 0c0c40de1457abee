//! The layer in front of every service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, header};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::role::roles_of;
use super::token::{Caller, Tokens};
use crate::config;
use crate::doors::{
    Failures, Full, Load, Names, Peer, Place, arriving, exempt, needs_no_token, streams, uploads,
    watched,
};
use crate::fault::Fault;

/// After how long to come again when the host had no room.
const LATER: Duration = Duration::from_secs(1);

/// How long a component may take to arrive.
const UPLOAD: Duration = Duration::from_secs(120);

/// What a request passes on its way to a service: it is no browser's, the host has room for it, its
/// token's role may call its method, and its principal has not called too often. The [`Caller`] is
/// then in the request's extensions.
#[derive(Clone)]
pub(crate) struct AuthLayer(Arc<Doors>);

/// See [`AuthLayer`].
#[derive(Clone)]
pub(crate) struct Auth<S> {
    inner: S,
    doors: Arc<Doors>,
}

struct Doors {
    tokens: Tokens,
    names: Names,
    load: Load,
    failures: Failures,
    /// Of one principal. `None`: as many as it likes.
    calls_per_second: Option<u32>,
    /// How long a message may take to arrive.
    arrival: Duration,
}

/// What a request was let in with.
#[derive(Default)]
struct Pass {
    caller: Option<Caller>,
    place: Option<Place>,
}

impl AuthLayer {
    /// A layer that knows these tokens, with the limits of this configuration.
    pub(crate) fn new(tokens: Tokens, config: &config::Server) -> Self {
        Self(Arc::new(Doors {
            tokens,
            names: Names::configured(config),
            load: Load::new(config),
            failures: Failures::default(),
            calls_per_second: Some(config.calls_per_second).filter(|calls| *calls > 0),
            arrival: Duration::from_secs(config.message_seconds.max(1)),
        }))
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth {
            inner,
            doors: Arc::clone(&self.0),
        }
    }
}

impl<S> Service<Request<Body>> for Auth<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let (streams, uploads) = (streams(path), uploads(path));
        let pass = match self.doors.admit(&request, streams) {
            Ok(pass) => pass,
            Err(response) => return Box::pin(std::future::ready(Ok(*response))),
        };
        let within = if uploads { UPLOAD } else { self.doors.arrival };
        request = request.map(|body| arriving(body, within));
        let Pass { caller, place } = pass;
        let life = caller
            .as_ref()
            .filter(|_| streams)
            .map(|caller| Arc::clone(&caller.life));
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // The place of a call is free again with its answer, that of a stream with its end.
            Ok(match streams {
                true => response.map(|body| watched(body, life.as_ref(), place)),
                false => response,
            })
        })
    }
}

impl Doors {
    fn admit(&self, request: &Request<Body>, streams: bool) -> Result<Pass, Box<Response<Body>>> {
        if let Err((code, reason)) = self.names.check(request) {
            let fault = Fault::new(Code::PermissionDenied, "NOT_A_GRPC_CLIENT", reason);
            let mut response = Status::from(fault).into_http::<Body>();
            *response.status_mut() = code;
            return Err(Box::new(response));
        }
        self.enter(request, streams)
            .map_err(|fault| Box::new(Status::from(*fault).into_http()))
    }

    fn enter(&self, request: &Request<Body>, streams: bool) -> Result<Pass, Box<Fault>> {
        let path = request.uri().path();
        let place = self.load.admit(path, streams).map_err(|Full| {
            let fault = Fault::unavailable(
                "OVERLOADED",
                "the host is at as many calls as it may; come again in a second",
            );
            Box::new(fault.retry_after(LATER))
        })?;
        if needs_no_token(path) {
            return Ok(Pass {
                caller: None,
                place,
            });
        }
        let caller = self
            .authenticate(request)
            .map_err(|fault| Box::new(self.failed(request, *fault)))?;
        let roles = roles_of(path);
        if !roles.contains(&caller.role) {
            return Err(Box::new(Fault::role_not_allowed(caller.role, path, roles)));
        }
        if let Some(most) = self.calls_per_second
            && !exempt(path)
            && let Err(wait) = caller.share.rate.take(most, most)
        {
            let message = format!(
                "{} has made more than {most} calls in a second; come again later",
                caller.principal
            );
            let fault = Fault::exhausted("RATE_LIMITED", message).retry_after(wait);
            return Err(Box::new(fault));
        }
        let place = place.map(|place| place.of(&caller.share, streams, &self.load));
        let place = place.transpose().map_err(|Full| {
            let what = if streams { "streams" } else { "calls" };
            let message = format!(
                "{} has as many {what} under way as one principal may; come again when some have ended",
                caller.principal
            );
            Box::new(Fault::exhausted("SHARE_USED_UP", message).retry_after(LATER))
        })?;
        Ok(Pass {
            caller: Some(caller),
            place,
        })
    }

    fn authenticate(&self, request: &Request<Body>) -> Result<Caller, Box<Fault>> {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")))
            .ok_or_else(|| {
                Box::new(Fault::unauthenticated("send `authorization: Bearer TOKEN`; the first start wrote one to operator.token in the data directory"))
            })?;
        self.tokens.authenticate(token.trim()).ok_or_else(|| {
            Box::new(Fault::unauthenticated(
                "this token is unknown, expired or revoked; ask the operator for a new one",
            ))
        })
    }

    /// What whoever fails is told: the more often, the less.
    fn failed(&self, request: &Request<Body>, fault: Fault) -> Fault {
        let peer = request.extensions().get::<Peer>();
        match peer.map(|peer| self.failures.count(peer.0.ip())) {
            Some(Err(wait)) => Fault::exhausted(
                "TOO_MANY_FAILURES",
                "too many calls from this address had no valid token; come again later, with one",
            )
            .retry_after(wait),
            _ => fault,
        }
    }
}
