//! An HTTP or HTTPS origin on loopback that records what it receives.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Every header.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// What an origin answers.
pub type Answer = Response<Full<Bytes>>;

/// A server that answers with a function and keeps what it received. It ends when it is dropped.
pub struct Origin {
    address: SocketAddr,
    scheme: &'static str,
    served: Served,
    task: JoinHandle<()>,
}

/// What one origin's connections share.
#[derive(Clone)]
struct Served {
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<dyn Fn(&Received) -> Answer + Send + Sync>,
    /// How many connections are open.
    open: watch::Sender<usize>,
}

/// A connection, for as long as it is open.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|count| *count += 1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Origin {
    /// Starts a server on a free port.
    pub async fn start(
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::listen(None, answer).await
    }

    /// Starts a server that speaks TLS, with a certificate of this authority for `localhost`.
    pub async fn start_tls(
        authority: &Authority,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::listen(Some(authority.acceptor()?), answer).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let served = Served {
            received: Arc::default(),
            answer: Arc::new(answer),
            open: watch::channel(0).0,
        };
        let kept = served.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, tls) = (kept.clone(), tls.clone());
                let open = Open::new(&kept.open);
                tokio::spawn(async move {
                    let _open = open;
                    match tls {
                        None => served.serve(stream).await,
                        // A client that does not trust the authority never gets to ask.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                served.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self {
            address,
            scheme,
            served,
            task,
        })
    }

    /// A server that answers every request with this JSON.
    pub async fn json(value: serde_json::Value) -> anyhow::Result<Self> {
        Self::start(move |_| json(StatusCode::OK, &value)).await
    }

    /// Its origin as agents name it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority())
    }

    /// Host and port, as requests name them.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Waits until its clients have closed every connection.
    pub async fn closed(&self) -> anyhow::Result<()> {
        let mut open = self.served.open.subscribe();
        open.wait_for(|count| *count == 0).await?;
        Ok(())
    }

    /// What it has received so far.
    pub fn received(&self) -> Vec<Received> {
        self.served
            .received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Served {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request: http::Request<Incoming>| {
            let served = self.clone();
            async move {
                let received = receive(request).await;
                served
                    .received
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(received.clone());
                Ok::<_, Infallible>((served.answer)(&received))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        // A client that breaks off is its own business.
        let _ = connection
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

impl Received {
    /// Every header as `name: value`, in the order of their names.
    pub fn fields(&self) -> Vec<String> {
        let mut fields: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        fields.sort();
        fields
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(request: http::Request<Incoming>) -> Received {
    let (head, body) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or_else(|| Uri::default().to_string(), ToString::to_string);
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    Received {
        method: head.method,
        target,
        headers: head.headers,
        body,
    }
}

/// A JSON response.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
