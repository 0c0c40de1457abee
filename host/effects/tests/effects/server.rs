//! A server on loopback that records the bytes of each request and answers with given bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nexus_manifest::Origin;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) struct Server {
    pub(crate) origin: Origin,
    /// What clients have to trust to speak to it.
    pub(crate) root: Option<CertificateDer<'static>>,
    pub(crate) connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What a server does once it has a request.
#[derive(Clone)]
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    /// Sends these and closes, whatever they promised.
    Stump(Vec<u8>),
    /// Echoes the request as the body.
    Echo,
    /// Says nothing and keeps the connection.
    Silence,
}

impl Server {
    pub(crate) async fn plain(answer: Answer) -> Self {
        Self::start(answer, None).await
    }

    /// Over TLS, as `api.example.test`.
    pub(crate) async fn tls(answer: Answer) -> Self {
        let certified =
            rcgen::generate_simple_self_signed(vec!["api.example.test".to_owned()]).unwrap();
        let root = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], key)
            .unwrap();
        Self::start(answer, Some((TlsAcceptor::from(Arc::new(config)), root))).await
    }

    async fn start(answer: Answer, tls: Option<(TlsAcceptor, CertificateDer<'static>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, root) = tls.unzip();
        let origin = match root {
            Some(_) => format!("https://api.example.test:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let server = Self {
            origin: origin.parse().unwrap(),
            root,
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (server.connections.clone(), server.requests.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, requests, answer) =
                    (acceptor.clone(), requests.clone(), answer.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &requests, answer).await;
                            }
                        }
                        None => serve(stream, &requests, answer).await,
                    }
                });
            }
        });
        server
    }

    /// The requests so far, as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    /// The one request there was.
    pub(crate) fn request(&self) -> String {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1);
        requests.remove(0)
    }
}

pub(crate) fn ok(body: &str) -> Answer {
    Answer::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: &Mutex<Vec<Vec<u8>>>,
    answer: Answer,
) {
    let mut bytes = Vec::new();
    while !complete(&bytes) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    requests.lock().unwrap().push(bytes.clone());
    let (answer, keep) = match answer {
        Answer::Bytes(bytes) => (bytes, true),
        Answer::Stump(bytes) => (bytes, false),
        Answer::Silence => (Vec::new(), true),
        Answer::Echo => {
            let mut head = format!(
                "HTTP/1.1 200 OK\r\nx-echo: {}\r\ncontent-length: {}\r\n\r\n",
                String::from_utf8_lossy(&bytes).replace(|c: char| c.is_control(), " "),
                bytes.len()
            )
            .into_bytes();
            head.extend(bytes);
            (head, true)
        }
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.flush().await;
    if keep {
        // Until the client has had enough.
        let _ = stream.read_buf(&mut Vec::new()).await;
    }
    let _ = stream.shutdown().await;
}

/// Whether the head is there, and as much of a body as it says.
fn complete(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    bytes.len() >= end + 4 + length
}
