//! Messages that have to arrive.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::fault::Fault;

/// A body that ends with an error if its end is not there in time.
struct Arriving {
    inner: Body,
    within: Duration,
    /// Most messages are there when they are looked for; the clock runs from the first wait.
    late: Option<Pin<Box<Sleep>>>,
}

/// The body, as far as its end arrives within this time.
pub(crate) fn arriving(body: Body, within: Duration) -> Body {
    Body::new(Arriving {
        inner: body,
        within,
        late: None,
    })
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let within = self.within;
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        ready!(late.as_mut().poll(cx));
        let message = format!(
            "the message has not arrived within {} seconds",
            within.as_secs()
        );
        let fault = Fault::new(Code::DeadlineExceeded, "BODY_TOO_SLOW", message);
        Poll::Ready(Some(Err(fault.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}
