//! The way out: permit in, response back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http_body_util::Full;
use nexus_gate::{Action, EffectClass, Finish, Permit, Receipt, kind};
use nexus_manifest::{Digest, Origin};
use nexus_vault::{Secret, Vault};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::time::Instant;

use super::body::{self, BodyError};
use super::connect::{Connector, Reach};
use super::exchange::{Failed, exchange};
use super::network::{Network, SystemNetwork};
use super::own::Own;
use super::placement::{Filled, fill};
use super::request::Request;
use super::response::Response;
use crate::Error;
use crate::beside::beside;
use crate::error::idempotency_key;
use crate::leak::Scanner;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Resolving, connecting and the TLS handshake, together.
    pub connect: Duration,
    /// From the start of the effect to the last byte of the response.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(60),
        }
    }
}

/// What the operator decides about the way out.
#[derive(Clone)]
pub struct EgressOptions {
    /// Origins that may lead to private and loopback addresses. Each has to be named exactly; the
    /// manifest has to name it, too.
    pub private_origins: Vec<Origin>,
    /// Where this host listens. No request leads there, on any address of this machine, even if it is
    /// among `private_origins`.
    pub own_listeners: Vec<SocketAddr>,
    /// Root certificates that are trusted besides the web's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The most bytes of a response's body, as sent and decoded.
    pub max_body: usize,
    /// Names and connections.
    pub network: Arc<dyn Network>,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            private_origins: Vec::new(),
            own_listeners: Vec::new(),
            extra_roots: Vec::new(),
            timeouts: Timeouts::default(),
            max_body: 8 * 1024 * 1024,
            network: Arc::new(SystemNetwork),
        }
    }
}

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
#[error("setting up TLS")]
pub struct SetupError(#[from] rustls::Error);

/// Sends agents' requests.
pub struct Egress {
    private_origins: Vec<Origin>,
    connector: Connector,
    timeouts: Timeouts,
    max_body: usize,
}

/// What happened, for the receipt and for the agent.
struct Exchanged {
    response: Response,
    address: SocketAddr,
    redacted: bool,
}

impl Egress {
    /// Sets up the way out. Fails on a root certificate that does not parse.
    pub fn new(options: EgressOptions) -> Result<Self, SetupError> {
        let connector = Connector::new(
            &options.extra_roots,
            options.network,
            Own::new(&options.own_listeners),
            options.timeouts.connect,
        )?;
        Ok(Self {
            private_origins: options.private_origins,
            connector,
            timeouts: options.timeouts,
            max_body: options.max_body,
        })
    }

    /// Refuses an origin that no request may go to, as far as it can be told without resolving a name:
    /// what is refused here need not be asked of a person first.
    pub fn check_origin(&self, origin: &Origin) -> Result<(), Error> {
        self.connector.check(origin, self.reach(origin))
    }

    fn reach(&self, origin: &Origin) -> Reach {
        if self.private_origins.contains(origin) {
            Reach::Inside
        } else {
            Reach::Public
        }
    }

    /// Sends one request and reads its response.
    ///
    /// Before the permit is spent, secrets are looked up, their audiences compared with the origin,
    /// and everything the agent supplied is searched for their values. The permit compares its digest
    /// with this very request before a name is resolved. A write whose end was not seen is
    /// [`Error::OutcomeUnknown`], and the audit says so; whatever failed before the first byte was
    /// handed to the connection is [`Error::Unavailable`] or [`Error::Forbidden`].
    pub async fn send(
        &self,
        permit: Permit<kind::Http>,
        request: Request,
        vault: &Vault,
    ) -> Result<Response, Error> {
        request.check()?;
        let action = permit.action();
        if action.verb != request.method.as_str() || action.target != request.action_target() {
            return Err(Error::Forbidden(
                "the permit is for another request".to_owned(),
            ));
        }
        let secrets = open(&request, action, vault).await?;
        let mut scanner = Scanner::default();
        for secret in &secrets {
            let (name, value) = (secret.name().as_str(), secret.expose().as_bytes());
            scanner.add(name, value);
            request.watch.add(name, value);
        }
        request.search_beside(Arc::new(scanner.clone())).await?;
        request.search_watched().await?;
        let read = action.class == EffectClass::Read;
        let key = idempotency_key(action);

        let receipt = permit.start(&request.payload()).await?;
        let deadline = Instant::now() + self.timeouts.total;
        let result = match fill(&request, &secrets) {
            Ok(filled) => self.exchange(&request, filled, scanner, deadline).await,
            Err(error) => Err(Ended::Before(error)),
        };
        settle(receipt, result, read, key).await
    }

    async fn exchange(
        &self,
        request: &Request,
        filled: Filled,
        mut scanner: Scanner,
        deadline: Instant,
    ) -> Result<Exchanged, Ended> {
        let origin = &request.origin;
        let searched = !request.placements.is_empty();
        for (name, value) in &filled.derived {
            scanner.add(name.as_str(), value.as_bytes());
        }
        let wire = wire(request, filled).map_err(Ended::Before)?;
        let reach = self.reach(origin);
        let connected = tokio::time::timeout_at(deadline, self.connector.connect(origin, reach));
        let (stream, address) = connected
            .await
            .unwrap_or_else(|_| {
                Err(Error::Unavailable(format!(
                    "{origin} could not be reached in time"
                )))
            })
            .map_err(Ended::Before)?;

        let late = || Ended::Lost(Error::Timeout(format!("{origin} did not answer in time")));
        let response = tokio::time::timeout_at(deadline, exchange(stream, wire))
            .await
            .map_err(|_| late())?;
        let (response, _connection) = response.map_err(|failed| match failed {
            Failed::Before(error) => Ended::Before(error),
            Failed::HeadTooLarge => Ended::Lost(Error::Exhausted(format!(
                "the headers of {origin}'s response are too large"
            ))),
            Failed::Started(error) => {
                tracing::debug!(%origin, %error, "the exchange broke off");
                Ended::Lost(Error::Timeout(format!(
                    "the connection to {origin} broke off"
                )))
            }
        })?;
        let (head, incoming) = response.into_parts();
        let body = body::read(&head.headers, incoming, self.max_body, searched);
        let body = tokio::time::timeout_at(deadline, body)
            .await
            .map_err(|_| late())?;
        let body = body.map_err(|error| {
            Ended::Lost(match error {
                BodyError::TooLarge => Error::Exhausted(format!(
                    "the response has more than {} bytes",
                    self.max_body
                )),
                BodyError::Broken => Error::Timeout(format!("{origin}'s response broke off")),
                BodyError::Damaged => Error::Other(format!("{origin}'s response is damaged")),
                BodyError::Encoding(name) => Error::Other(format!(
                    "the response is encoded as {name:?}, in which secrets can't be looked for"
                )),
            })
        })?;
        let mut response = Response::new(&head, body);
        let watched = request.watch.scanner().unwrap_or_default();
        let mut redacted = false;
        if !(scanner.is_empty() && watched.is_empty()) {
            (response, redacted) = beside(response.size(), move || {
                let redacted = response.redact(&scanner) | response.redact(&watched);
                (response, redacted)
            })
            .await;
        }
        Ok(Exchanged {
            response,
            address,
            redacted,
        })
    }
}

/// How an effect ended that has no response.
enum Ended {
    /// Nothing was sent.
    Before(Error),
    /// Something may have been sent; the error is what a read is told.
    Lost(Error),
}

/// Closes the audit record and says what the agent is told.
async fn settle(
    receipt: Receipt,
    result: Result<Exchanged, Ended>,
    read: bool,
    key: String,
) -> Result<Response, Error> {
    let (finish, result) = match result {
        Ok(Exchanged {
            response,
            address,
            redacted,
        }) => {
            let detail = json!({
                "status": response.status,
                "bytes": response.body.len(),
                "address": address.to_string(),
                "redacted": redacted,
            });
            (
                Finish {
                    ok: true,
                    result: response.digest(),
                    detail,
                },
                Ok(response),
            )
        }
        // Dropping the receipt records that the end is unknown.
        Err(Ended::Lost(_)) if !read => return Err(Error::OutcomeUnknown { key }),
        Err(Ended::Before(error) | Ended::Lost(error)) => {
            let detail = json!({ "error": error.to_string() });
            (
                Finish {
                    ok: false,
                    result: Digest::of(b""),
                    detail,
                },
                Err(error),
            )
        }
    };
    if let Err(error) = receipt.finish(finish).await {
        // What happened has happened; the record is open, and later effects will be refused.
        tracing::error!(%error, "the end of an effect could not be recorded");
    }
    result
}

/// Opens the secrets of a request: one for each placement, each meant for this origin by the
/// operator and by the manifest.
async fn open(request: &Request, action: &Action, vault: &Vault) -> Result<Vec<Secret>, Error> {
    let mut secrets = Vec::with_capacity(request.placements.len());
    for placement in &request.placements {
        let (name, origin) = (&placement.secret, &request.origin);
        let granted = action.context.manifest.secret(name.as_str());
        if !granted.is_some_and(|permission| permission.audience.contains(origin)) {
            return Err(Error::Forbidden(format!(
                "the manifest does not let the secret `{name}` be sent to {origin}"
            )));
        }
        let secret = vault.open_secret(name).await;
        let secret = secret.map_err(|error| crate::secret::unopened(name, &error))?;
        placement.meant_for(origin, &secret)?;
        placement.fits(&secret)?;
        secrets.push(secret);
    }
    Ok(secrets)
}

/// The request as hyper sends it. hyper adds `content-length`, from the body.
fn wire(request: &Request, filled: Filled) -> Result<http::Request<Full<Bytes>>, Error> {
    let refuse = |_| Error::Invalid("the request can't be sent with its secrets in".to_owned());
    let mut wire = http::Request::builder()
        .method(request.method.as_str())
        .uri(filled.target.as_str())
        .body(Full::new(filled.body))
        .map_err(refuse)?;
    let headers = wire.headers_mut();
    let authority = HeaderValue::from_str(request.origin.authority());
    headers.insert(HOST, authority.map_err(|error| refuse(error.into()))?);
    for (name, value) in filled.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        headers.append(name.map_err(|error| refuse(error.into()))?, value);
    }
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "nexus/",
            env!("CARGO_PKG_VERSION")
        )));
    headers
        .entry(ACCEPT_ENCODING)
        .or_insert(HeaderValue::from_static("gzip"));
    Ok(wire)
}
