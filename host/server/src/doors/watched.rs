//! Streams that end with the token that opened them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Frame;
use nexus_store::now_ms;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;

use super::load::Place;
use crate::fault::Fault;

/// A body that ends with UNAUTHENTICATED as soon as its token does, and keeps its place until then.
struct Watched {
    inner: Body,
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    over: bool,
    _place: Option<Place>,
}

/// Ends `body` at the moment that `life` says, in milliseconds since the epoch; if it changes, at the
/// new one.
pub(crate) fn watched(
    body: Body,
    life: Option<&Arc<watch::Sender<Option<u64>>>>,
    place: Option<Place>,
) -> Body {
    let end = life.map(|life| {
        let ends = life.subscribe();
        Box::pin(ended(ends)) as Pin<Box<dyn Future<Output = ()> + Send>>
    });
    Body::new(Watched {
        inner: body,
        end,
        over: false,
        _place: place,
    })
}

async fn ended(mut ends: watch::Receiver<Option<u64>>) {
    loop {
        let end = *ends.borrow_and_update();
        let left = end.map(|end| Duration::from_millis(end.saturating_sub(now_ms())));
        let changed = ends.changed();
        match left {
            Some(Duration::ZERO) => return,
            Some(left) => tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = changed => if changed.is_err() { return },
            },
            None if changed.await.is_err() => return,
            None => {}
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let ended = self.end.as_mut().map(|end| end.as_mut().poll(cx));
        if ended.is_some_and(|ended| ended.is_ready()) {
            self.over = true;
            let status: Status =
                Fault::unauthenticated("the token of this stream has expired or was revoked")
                    .into();
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(
                status
                    .add_header(&mut trailers)
                    .map(|()| Frame::trailers(trailers)),
            ));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }
}
