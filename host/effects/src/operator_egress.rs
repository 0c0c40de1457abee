//! The operator's own way out: to endpoints that the configuration names, never an agent's.
//!
//! The model client and other parts of the host that must reach the network use it, so that no
//! other crate depends on an HTTP client.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use nexus_manifest::{Host, Origin, SecretName, Target};
use nexus_vault::Vault;
pub use rustls::pki_types::CertificateDer;
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
    /// From the request to the first byte of the response's body.
    pub first_byte_timeout: Duration,
    /// The longest silence of the endpoint within the body.
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
            first_byte_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(120),
            total_timeout: Duration::from_secs(600),
            max_bytes: 16 * 1024 * 1024,
            network: Arc::new(SystemNetwork),
        }
    }
}

impl fmt::Debug for OperatorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorOptions")
            .field("connect_timeout", &self.connect_timeout)
            .field("first_byte_timeout", &self.first_byte_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// A key that the vault keeps, for an endpoint at `origin` and no other: an origin that the secret's
/// audience does not name, or one without TLS, does not get it.
pub async fn vault_bearer(
    vault: &Vault,
    name: &SecretName,
    origin: &Origin,
) -> Result<SecretString, Error> {
    let secret = vault.open_secret(name).await;
    let secret = secret.map_err(|error| crate::secret::unopened(name, &error))?;
    if !origin.is_https() {
        return Err(Error::Forbidden(format!(
            "the vault's secrets go over https only, and {origin} is plain http"
        )));
    }
    if !secret.allows(origin) {
        return Err(Error::Forbidden(format!(
            "its audience does not name {origin}; set it anew with `nexus vault set {name} --audience {origin}`"
        )));
    }
    Ok(secret.expose().into())
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
    /// How long the endpoint wants to be left alone, if it said so.
    pub retry_after: Option<Duration>,
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

    /// Where the endpoint is.
    pub fn origin(&self) -> &Origin {
        &self.base
    }

    /// Posts a body and gives the response as it arrives. Follows no redirect.
    pub async fn post(
        &self,
        target: &Target,
        content_type: &'static str,
        accept: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<OperatorResponse, Error> {
        let bearer = self.options.bearer.as_ref();
        self.post_as(bearer, target, content_type, accept, body)
            .await
    }

    /// The same, with this key in place of the one that the client was made with.
    pub async fn post_as(
        &self,
        bearer: Option<&SecretString>,
        target: &Target,
        content_type: &'static str,
        accept: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<OperatorResponse, Error> {
        let request = http::Request::post(target.as_str()).header(CONTENT_TYPE, content_type);
        self.send(bearer, request, accept, body.into()).await
    }

    /// Gets what is there, with this key if there is one. Follows no redirect.
    pub async fn get_as(
        &self,
        bearer: Option<&SecretString>,
        target: &Target,
        accept: &'static str,
    ) -> Result<OperatorResponse, Error> {
        let request = http::Request::get(target.as_str());
        self.send(bearer, request, accept, Bytes::new()).await
    }

    async fn send(
        &self,
        bearer: Option<&SecretString>,
        request: http::request::Builder,
        accept: &'static str,
        body: Bytes,
    ) -> Result<OperatorResponse, Error> {
        let deadline = Instant::now() + self.options.total_timeout;
        let request = self.request(bearer, request, accept, body)?;
        let (stream, _) = self.connector.connect(&self.base, self.reach).await?;
        let first = deadline.min(Instant::now() + self.options.first_byte_timeout);
        let answered = tokio::time::timeout_at(first, exchange(stream, request)).await;
        let (response, connection) =
            answered
                .map_err(|_| self.late())?
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
        let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let reader = Reader {
            incoming,
            _connection: connection,
            first: Some(first),
            deadline,
            idle: self.options.idle_timeout,
            left: self.options.max_bytes,
            whom: self.whom(),
        };
        Ok(OperatorResponse {
            status: head.status.as_u16(),
            content_type: field(CONTENT_TYPE).map(str::to_owned),
            retry_after: field(RETRY_AFTER).and_then(retry_after),
            body: stream::unfold(Some(reader), Reader::next).boxed(),
        })
    }

    fn request(
        &self,
        bearer: Option<&SecretString>,
        request: http::request::Builder,
        accept: &'static str,
        body: Bytes,
    ) -> Result<http::Request<Full<Bytes>>, Error> {
        let refuse = |_| Error::Invalid(format!("{}: the request can't be sent", self.whom()));
        let mut builder = request
            .header(HOST, self.base.authority())
            .header(USER_AGENT, concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, accept);
        if let Some(bearer) = bearer {
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
        Error::Timeout(format!(
            "{} did not begin to answer within {:?}",
            self.whom(),
            self.options
                .first_byte_timeout
                .min(self.options.total_timeout)
        ))
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

/// Reads seconds, or the date until which to wait.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(value.trim()).ok()?;
    Some(until.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A body on its way, with what is left of its limits.
struct Reader {
    incoming: Incoming,
    _connection: Connection,
    /// By when its first byte has to be there, until it is.
    first: Option<Instant>,
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
            let until = reader.first.unwrap_or_else(|| Instant::now() + reader.idle);
            let until = until.min(reader.deadline);
            let Ok(frame) = tokio::time::timeout_at(until, reader.incoming.frame()).await else {
                return Some((Err(reader.late()), None));
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
            if !data.is_empty() {
                reader.first = None;
            }
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

    /// Which of the clocks ran out.
    fn late(&self) -> Error {
        let whom = &self.whom;
        Error::Timeout(if Instant::now() >= self.deadline {
            format!("{whom} did not come to an end in time")
        } else if self.first.is_some() {
            format!("{whom} sent the head of an answer and nothing else")
        } else {
            format!("{whom} fell silent for {:?}", self.idle)
        })
    }
}
