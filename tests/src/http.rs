//! A plain client of JSON over HTTP, in either version.

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Host;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2, known to be spoken.
    Two,
}

/// A host and a token to call it with.
#[derive(Debug, Clone)]
pub struct Http {
    address: String,
    token: Option<String>,
    version: Version,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it is called, if it is called anything.
    pub name: Option<String>,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its data.
    pub data: Value,
}

/// Events as they arrive.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
}

impl Http {
    /// The operator's client, over HTTP/1.1.
    pub fn operator(host: &Host) -> Self {
        Self::new(host, Some(host.token()))
    }

    /// A client with this token, over HTTP/1.1.
    pub fn new(host: &Host, token: Option<&str>) -> Self {
        Self {
            address: host.endpoint.trim_start_matches("http://").to_owned(),
            token: token.map(str::to_owned),
            version: Version::One,
        }
    }

    /// The same, over this version.
    #[must_use]
    pub fn over(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The host's address and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request over a connection of its own. `host` is what the host is called.
    pub async fn open(
        &self,
        host: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response<Incoming>> {
        let stream = TokioIo::new(TcpStream::connect(&self.address).await?);
        let mut request = Request::builder().method(method);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(body.into());
        Ok(match self.version {
            Version::One => {
                let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await?;
                tokio::spawn(connection);
                let request = request.uri(path).header("host", host).body(body)?;
                send.send_request(request).await?
            }
            Version::Two => {
                let executor = TokioExecutor::new();
                let (mut send, connection) =
                    hyper::client::conn::http2::handshake(executor, stream).await?;
                tokio::spawn(connection);
                let request = request.uri(format!("http://{host}{path}")).body(body)?;
                send.send_request(request).await?
            }
        })
    }

    /// Sends a request by the host's address and reads its answer to the end.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let response = self
            .open(&self.address, method, path, headers, body)
            .await?;
        Answer::of(response).await
    }

    /// Gets.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, &[], "").await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let json = [("content-type", "application/json")];
        self.send(Method::POST, path, &json, body.to_string()).await
    }

    /// Opens a stream of events.
    pub async fn watch(&self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Events> {
        let response = self
            .open(&self.address, Method::GET, path, headers, "")
            .await?;
        Events::of(response)
    }
}

impl Answer {
    /// All of an answer.
    pub async fn of(response: Response<Incoming>) -> anyhow::Result<Self> {
        let (parts, body) = response.into_parts();
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} {:?}", self.status, self.body))
    }

    /// The body of an answer that has to be good.
    pub fn good(&self) -> anyhow::Result<Value> {
        ensure!(
            self.status == StatusCode::OK,
            "{} {:?}",
            self.status,
            self.body
        );
        self.json()
    }

    /// The stable reason of an error.
    pub fn reason(&self) -> anyhow::Result<String> {
        let body = self.json()?;
        let details = body["details"].as_array().context("an error has details")?;
        let info = details.iter().find_map(|detail| detail["reason"].as_str());
        Ok(info.context("an error has a reason")?.to_owned())
    }
}

impl Events {
    /// The events of an answer that is a stream.
    pub fn of(response: Response<Incoming>) -> anyhow::Result<Self> {
        let kind = response.headers().get("content-type");
        ensure!(
            response.status() == StatusCode::OK
                && kind.is_some_and(|kind| kind == "text/event-stream"),
            "{response:?}"
        );
        Ok(Self {
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            let end = self.buffer.windows(2).position(|two| two == b"\n\n");
            if let Some(end) = end {
                let block = self.buffer.split_to(end + 2);
                let text = std::str::from_utf8(&block)?;
                let field = |name: &str| {
                    text.lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                // A comment says only that the stream lives.
                let Some(data) = field("data: ") else {
                    continue;
                };
                return Ok(Some(Event {
                    name: field("event: "),
                    id: field("id: "),
                    data: serde_json::from_str(&data)?,
                }));
            }
            match self.body.frame().await.transpose()? {
                None => {
                    ensure!(self.buffer.is_empty(), "a stream was cut within an event");
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
