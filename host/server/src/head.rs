//! The head of the audit trail on every answer: who has seen one can tell a trail that went back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use nexus_audit::Audit;
use tokio::sync::watch;
use tower::{Layer, Service};

use crate::auth::Caller;

/// `KEY-ID:SEQUENCE:HASH`, of the last record that was durable when the answer was ready.
pub(crate) const HEADER: &str = "nexus-audit-head";

/// Puts the head of the trail on what callers with a token are answered.
#[derive(Clone)]
pub(crate) struct HeadLayer(Arc<Newest>);

/// See [`HeadLayer`].
#[derive(Clone)]
pub(crate) struct Head<S> {
    inner: S,
    newest: Arc<Newest>,
}

struct Newest {
    audit: Audit,
    key_id: String,
    /// The sequence number alone, which costs nothing to look at.
    sequence: watch::Receiver<u64>,
    /// What was made of it last.
    told: Mutex<Option<(u64, HeaderValue)>>,
}

impl HeadLayer {
    pub(crate) fn new(audit: Audit) -> Self {
        Self(Arc::new(Newest {
            key_id: audit.verifying_key().id(),
            sequence: audit.subscribe(),
            told: Mutex::default(),
            audit,
        }))
    }
}

impl<S> Layer<S> for HeadLayer {
    type Service = Head<S>;

    fn layer(&self, inner: S) -> Head<S> {
        Head {
            inner,
            newest: self.0.clone(),
        }
    }
}

impl<S, B, C> Service<Request<B>> for Head<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
    S::Error: Send,
    C: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let known = request.extensions().get::<Caller>().is_some();
        let answer = self.inner.call(request);
        let newest = self.newest.clone();
        Box::pin(async move {
            let mut answer = answer.await?;
            if known && let Some(head) = newest.value().await {
                answer.headers_mut().insert(HEADER, head);
            }
            Ok(answer)
        })
    }
}

impl Newest {
    async fn value(&self) -> Option<HeaderValue> {
        let newest = *self.sequence.borrow();
        let told = |sequence| {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let (last, value) = told.as_ref()?;
            (*last >= sequence).then(|| value.clone())
        };
        if let Some(value) = told(newest) {
            return Some(value);
        }
        // An answer without it is still an answer.
        let head = self
            .audit
            .head()
            .await
            .ok()
            .filter(|head| head.sequence > 0)?;
        let text = format!(
            "{}:{}:{}",
            self.key_id,
            head.sequence,
            hex::encode(head.hash)
        );
        let value = HeaderValue::from_str(&text).ok()?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Another answer may have looked later.
        if told.as_ref().is_none_or(|(last, _)| *last < head.sequence) {
            *told = Some((head.sequence, value.clone()));
        }
        Some(value)
    }
}
