//! Connections on their way to the services.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::tls::Tls;

/// What a handshake may take. Who has not got through by then has no token to show either.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes after which it is known which version of HTTP is spoken: the preface of HTTP/2. Until then
/// nothing else looks at the clock.
const PREFACE: usize = 24;

/// Where a request comes from, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A connection, and its place among those that may be open.
pub(crate) struct Connection {
    stream: Transport,
    peer: Peer,
    /// How much is still to be heard, and until when; gone as soon as it was.
    silent: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connections to a listener, at most `most` at once: what comes beyond is closed at once, so
/// that those who are there keep being served. A slow handshake holds up nobody else.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
    most: usize,
) -> impl Stream<Item = io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(16);
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let tls = tls.map(Arc::new);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors, or a client that left early: neither is the listener's end.
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(%peer, most, "too many connections");
                continue;
            };
            // Small messages go out at once; where that can't be said they are only later.
            let _ = stream.set_nodelay(true);
            let (ready, tls) = (ready.clone(), tls.clone());
            let opening = async move {
                let stream = match tls {
                    None => Transport::Plain(stream),
                    Some(tls) => {
                        let shaking = TlsAcceptor::from(tls.current()).accept(stream);
                        match tokio::time::timeout(HANDSHAKE, shaking).await {
                            Ok(Ok(stream)) => Transport::Tls(Box::new(stream)),
                            Ok(Err(error)) => {
                                tracing::debug!(%peer, %error, "no TLS connection");
                                return;
                            }
                            Err(_) => return,
                        }
                    }
                };
                let connection = Connection {
                    stream,
                    peer: Peer(peer),
                    silent: Some((PREFACE, Box::pin(tokio::time::sleep(HANDSHAKE)))),
                    _place: place,
                };
                // The host is stopping.
                let _ = ready.send(Ok(connection)).await;
            };
            tokio::spawn(opening);
        }
    });
    ReceiverStream::new(connections)
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        let Some((left, until)) = &mut self.silent else {
            return read;
        };
        *left = left.saturating_sub(buffer.filled().len() - before);
        if *left == 0 {
            self.silent = None;
        } else if read.is_pending() && until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
