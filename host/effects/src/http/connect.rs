//! From a name to a connection, with the check in between and nothing after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nexus_manifest::{Host, Origin};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::address::{is_inside, is_public};
use super::network::Network;
use super::own::{Own, is_local};
use crate::Error;

/// Which addresses a connection may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only public ones that are not this machine's.
    Public,
    /// Public ones, and those inside that a name of the operator's may stand for.
    Inside,
    /// Only this machine's own.
    Loopback,
    /// All: the operator named this very origin.
    Any,
}

/// A connection, in clear or over TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections.
pub(crate) struct Connector {
    tls: TlsConnector,
    network: Arc<dyn Network>,
    own: Own,
    timeout: Duration,
}

impl Connector {
    /// A connector that trusts the web's root certificates and `extra_roots`, and leads to no listener
    /// of `own`.
    pub(crate) fn new(
        extra_roots: &[CertificateDer<'static>],
        network: Arc<dyn Network>,
        own: Own,
        timeout: Duration,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for root in extra_roots {
            roots.add(root.clone())?;
        }
        // Named, not taken from the process: another crate may have installed another provider.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            network,
            own,
            timeout,
        })
    }

    /// Resolves once, checks every answer, and connects to one of the addresses that were checked.
    /// Gives the address, too.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        reach: Reach,
    ) -> Result<(Box<dyn Stream>, SocketAddr), Error> {
        let connected = async {
            let addresses = self.addresses(origin, reach).await?;
            let (stream, address) = self.dial(origin, &addresses).await?;
            let stream = if origin.is_https() {
                let name = server_name(origin)?;
                let tls = self.tls.connect(name, stream).await;
                Box::new(tls.map_err(|error| {
                    Error::Unavailable(format!("no TLS connection to {origin}: {error}"))
                })?) as Box<dyn Stream>
            } else {
                Box::new(stream)
            };
            Ok((stream, address))
        };
        tokio::time::timeout(self.timeout, connected)
            .await
            .unwrap_or_else(|_| {
                Err(Error::Unavailable(format!(
                    "{origin} could not be reached in time"
                )))
            })
    }

    /// Refuses what can be refused before a name is resolved: an address that may not be connected to,
    /// and a name that is none.
    pub(crate) fn check(&self, origin: &Origin, reach: Reach) -> Result<(), Error> {
        match literal(origin) {
            Some(address) => self.check_address(origin, reach, address),
            None => check_name(origin),
        }
    }

    async fn addresses(&self, origin: &Origin, reach: Reach) -> Result<Vec<SocketAddr>, Error> {
        self.check(origin, reach)?;
        let addresses = match (literal(origin), origin.host()) {
            (None, Host::Name(name)) => {
                self.network
                    .resolve(name, origin.port())
                    .await
                    .map_err(|error| {
                        tracing::debug!(%origin, %error, "the name did not resolve");
                        Error::Unavailable(format!("the name of {origin} could not be resolved"))
                    })?
            }
            // Literals never reach a resolver, which might think otherwise of them.
            (literal, _) => literal.into_iter().collect(),
        };
        if addresses.is_empty() {
            return Err(Error::Unavailable(format!(
                "the name of {origin} has no address"
            )));
        }
        // One bad answer is enough: which one is used would otherwise be the attacker's to choose.
        for address in &addresses {
            self.check_address(origin, reach, *address)?;
        }
        Ok(addresses)
    }

    fn check_address(
        &self,
        origin: &Origin,
        reach: Reach,
        address: SocketAddr,
    ) -> Result<(), Error> {
        match self.refusal(origin, reach, address) {
            None => Ok(()),
            Some(reason) => {
                tracing::warn!(%origin, %address, reason, "refused an address");
                Err(Error::Forbidden(format!("{origin} {reason}")))
            }
        }
    }

    /// Why a connection may not lead there, in words that do not tell where it would have led.
    fn refusal(&self, origin: &Origin, reach: Reach, address: SocketAddr) -> Option<&'static str> {
        let ip = address.ip();
        if address.port() != origin.port() {
            return Some("leads to another port");
        }
        // Before all else: whoever reaches a listener of the host could decide on its own requests.
        if self.own.holds(address) {
            return Some("leads to this host's own listener, which no agent may reach");
        }
        match reach {
            Reach::Public if !is_public(ip) || is_local(ip) => Some(
                "leads to an address that is not on the public internet; an operator who means it names the \
                     origin under [egress] private_origins and starts the host again",
            ),
            Reach::Inside if !is_public(ip) && !is_inside(ip) => {
                Some("leads to an address that no private origin may have")
            }
            Reach::Loopback if !ip.is_loopback() => Some("is not on this machine"),
            _ => None,
        }
    }

    /// Tries the addresses in order. Each has its share of the time that is left: one that never
    /// answers does not keep the next from being tried.
    async fn dial(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
    ) -> Result<(TcpStream, SocketAddr), Error> {
        let end = Instant::now() + self.timeout;
        for (tried, address) in addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let connected = tokio::time::timeout(left / others, self.network.connect(*address));
            match connected.await.unwrap_or_else(|late| Err(late.into())) {
                Ok(stream) => {
                    // Small writes should not wait for each other; a stream works without it.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, *address));
                }
                Err(error) => tracing::debug!(%origin, %address, %error, "no connection"),
            }
        }
        Err(Error::Unavailable(format!("{origin} could not be reached")))
    }
}

/// The address that stands in the origin itself.
fn literal(origin: &Origin) -> Option<SocketAddr> {
    let ip = match origin.host() {
        Host::Name(_) => return None,
        Host::V4(address) => (*address).into(),
        Host::V6(address) => (*address).into(),
    };
    Some(SocketAddr::new(ip, origin.port()))
}

/// Letters, digits, hyphens and dots; the last label no number, which resolvers take for an address.
fn check_name(origin: &Origin) -> Result<(), Error> {
    let Host::Name(name) = origin.host() else {
        return Ok(());
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if numeric || !plain || name.is_empty() || name.len() > 253 {
        return Err(Error::Invalid(format!(
            "the host of {origin} is no name that can be resolved"
        )));
    }
    Ok(())
}

fn server_name(origin: &Origin) -> Result<ServerName<'static>, Error> {
    match origin.host() {
        Host::V4(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::V6(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|_| Error::Invalid(format!("the host of {origin} is no name for TLS"))),
    }
}
