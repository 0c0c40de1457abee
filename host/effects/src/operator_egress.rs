//! The operator's own way out: to endpoints that the configuration names, never an agent's.
//!
//! The model client and other parts of the host that must reach the network use it, so that no
//! other crate depends on an HTTP client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use nexus_manifest::{Host, Origin, Target};
use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::Error;
use crate::http::exchange::{Connection, Failed, exchange};
use crate::http::{Connector, Network, Own, Reach, SetupError, SystemNetwork};

/// What the operator says about the endpoint.
#[derive(Clone)]
pub struct OperatorOptions {
    /// The key, sent as `authorization: Bearer`.
    pub bearer: Option<SecretString>,
    /// Whether an endpoint without TLS may be elsewhere than on this machine.
    pub allow_plain: bool,
    /// Root certificates that are trusted besides the web's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Resolving, connecting and the TLS handshake, together.
    pub connect_timeout: Duration,
    /// The longest silence of the endpoint, before the response and within it.
    pub idle_timeout: Duration,
    /// From the request to the last byte.
    pub total_timeout: Duration,
    /// The most bytes of a response.
    pub max_bytes: usize,
    /// Names and connections.
    pub network: Arc<dyn Network>,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self {
            bearer: None,
            allow_plain: false,
            extra_roots: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            total_timeout: Duration::from_secs(600),
            max_bytes: 16 * 1024 * 1024,
            network: Arc::new(SystemNetwork),
        }
    }
}

/// Talks to one endpoint of the operator's.
pub struct OperatorClient {
    purpose: &'static str,
    base: Origin,
    options: OperatorOptions,
    connector: Connector,
    reach: Reach,
}

/// A response whose body is still coming.
pub struct OperatorResponse {
    /// The status.
    pub status: u16,
    /// The media type, if the endpoint named one.
    pub content_type: Option<String>,
    /// The body as it arrives; server-sent events are in it as they are. Ends with an error after
    /// too long a silence or too many bytes.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl OperatorClient {
    /// A client for `purpose`, which stands in its errors. In clear it goes to this machine only,
    /// unless the operator allows otherwise.
    pub fn new(
        purpose: &'static str,
        base: Origin,
        options: OperatorOptions,
    ) -> Result<Self, OperatorError> {
        let reach = match (base.is_https() || options.allow_plain, base.host()) {
            (true, _) => Reach::Any,
            // The name may say one thing and its address another: the connector looks at the address.
            (false, Host::Name(name)) if name == "localhost" => Reach::Loopback,
            (false, Host::V4(address)) if address.is_loopback() => Reach::Loopback,
            (false, Host::V6(address)) if address.is_loopback() => Reach::Loopback,
            (false, _) => return Err(OperatorError::Plain { purpose, base }),
        };
        let connector = Connector::new(
            &options.extra_roots,
            options.network.clone(),
            Own::default(),
            options.connect_timeout,
        )
        .map_err(SetupError::from)?;
        Ok(Self {
            purpose,
            base,
            options,
            connector,
            reach,
        })
    }

    /// Posts a body and gives the response as it arrives. Follows no redirect.
    pub async fn post(
        &self,
        target: &Target,
        content_type: &'static str,
        accept: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<OperatorResponse, Error> {
        let deadline = Instant::now() + self.options.total_timeout;
        let request = self.request(target, content_type, accept, body.into())?;
        let (stream, _) = self.connector.connect(&self.base, self.reach).await?;
        let idle = self.options.idle_timeout;
        let answered = within(deadline, idle, exchange(stream, request)).await;
        let (response, connection) =
            answered
                .ok_or_else(|| self.late())?
                .map_err(|failed| match failed {
                    Failed::Before(error) => error,
                    Failed::Started(error) => {
                        Error::Unavailable(format!("{}: {error}", self.whom()))
                    }
                    Failed::HeadTooLarge => {
                        Error::Exhausted(format!("{} sent too much", self.whom()))
                    }
                })?;
        let (head, incoming) = response.into_parts();
        let content_type = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let reader = Reader {
            incoming,
            _connection: connection,
            deadline,
            idle,
            left: self.options.max_bytes,
            whom: self.whom(),
        };
        Ok(OperatorResponse {
            status: head.status.as_u16(),
            content_type: content_type.map(str::to_owned),
            body: stream::unfold(Some(reader), Reader::next).boxed(),
        })
    }

    fn request(
        &self,
        target: &Target,
        content_type: &'static str,
        accept: &'static str,
        body: Bytes,
    ) -> Result<http::Request<Full<Bytes>>, Error> {
        let refuse = |_| Error::Invalid(format!("{}: the request can't be sent", self.whom()));
        let mut builder = http::Request::post(target.as_str())
            .header(HOST, self.base.authority())
            .header(USER_AGENT, concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, accept);
        if let Some(bearer) = &self.options.bearer {
            let text = Zeroizing::new(format!("Bearer {}", bearer.expose_secret()));
            let mut value = HeaderValue::from_str(&text).map_err(|error| refuse(error.into()))?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        builder.body(Full::new(body)).map_err(refuse)
    }

    fn whom(&self) -> String {
        format!("the {} at {}", self.purpose, self.base)
    }

    fn late(&self) -> Error {
        Error::Timeout(format!("{} did not answer in time", self.whom()))
    }
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorClient")
            .field("purpose", &self.purpose)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The endpoint would be spoken to in clear, over the network.
    #[error(
        "the {purpose} at {base} is neither https nor on this machine; allow it in the configuration if the network is yours"
    )]
    Plain {
        /// What the endpoint is for.
        purpose: &'static str,
        /// Where it is.
        base: Origin,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// A body on its way, with what is left of its limits.
struct Reader {
    incoming: Incoming,
    _connection: Connection,
    deadline: Instant,
    idle: Duration,
    left: usize,
    whom: String,
}

impl Reader {
    /// The next piece; after an error, nothing.
    async fn next(reader: Option<Self>) -> Option<(Result<Bytes, Error>, Option<Self>)> {
        let mut reader = reader?;
        loop {
            let Some(frame) = within(reader.deadline, reader.idle, reader.incoming.frame()).await
            else {
                return Some((
                    Err(Error::Timeout(format!("{} fell silent", reader.whom))),
                    None,
                ));
            };
            let data = match frame? {
                Ok(frame) => frame.into_data(),
                Err(error) => {
                    return Some((
                        Err(Error::Unavailable(format!("{}: {error}", reader.whom))),
                        None,
                    ));
                }
            };
            let Ok(data) = data else { continue };
            let Some(left) = reader.left.checked_sub(data.len()) else {
                return Some((
                    Err(Error::Exhausted(format!("{} sent too much", reader.whom))),
                    None,
                ));
            };
            reader.left = left;
            return Some((Ok(data), Some(reader)));
        }
    }
}

/// The result, unless the deadline passes or nothing happens for too long.
async fn within<T>(
    deadline: Instant,
    idle: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::time::timeout_at(deadline.min(Instant::now() + idle), future)
        .await
        .ok()
}
