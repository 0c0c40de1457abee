//! One request and one response over one connection.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::connect::Stream;
use crate::Error;

/// The most bytes of a response's head.
const MAX_HEAD: usize = 64 * 1024;
const MAX_RESPONSE_HEADERS: usize = 128;

/// A connection's task, which ends with this.
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How an exchange failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Before any byte of the request was handed to the connection.
    Before(Error),
    /// After.
    Started(hyper::Error),
    /// The response's head has too many fields or bytes.
    HeadTooLarge,
}

/// Sends a request and waits for the head of its response.
pub(crate) async fn exchange(
    stream: Box<dyn Stream>,
    request: http::Request<Full<Bytes>>,
) -> Result<(http::Response<Incoming>, Connection), Failed> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_RESPONSE_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failed::Before(Error::Unavailable(format!("no connection: {error}"))))?;
    let connection = Connection(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    }));
    match sender.try_send_request(request).await {
        // hyper reads a head in one piece if it comes in one piece, whatever its buffer's limit.
        Ok(response) if head_bytes(&response) > MAX_HEAD => Err(Failed::HeadTooLarge),
        Ok(response) => Ok((response, connection)),
        // The request comes back only if nothing of it was written.
        Err(mut failed) => {
            let unsent = failed.take_message().is_some();
            let error = failed.into_error();
            Err(if unsent {
                Failed::Before(Error::Unavailable(format!(
                    "the connection was closed: {error}"
                )))
            } else if error.is_parse_too_large() {
                Failed::HeadTooLarge
            } else {
                Failed::Started(error)
            })
        }
    }
}

fn head_bytes(response: &http::Response<Incoming>) -> usize {
    response
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}
