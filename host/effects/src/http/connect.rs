//! From a name to a connection, with the check in between and nothing after it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nexus_manifest::{Host, Origin};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::is_public;
use crate::Error;

/// Turns names into addresses. What it says is checked, whoever it is.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name. Called once per connection; the answer is what is connected to.
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

/// Which addresses a connection may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only public ones.
    Public,
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
    resolver: Arc<dyn Resolve>,
    timeout: Duration,
}

impl Connector {
    /// A connector that trusts the web's root certificates and `extra_roots`.
    pub(crate) fn new(
        extra_roots: &[CertificateDer<'static>],
        resolver: Arc<dyn Resolve>,
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
            resolver,
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
            let (stream, address) = dial(origin, &addresses).await?;
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

    async fn addresses(&self, origin: &Origin, reach: Reach) -> Result<Vec<SocketAddr>, Error> {
        let addresses = match origin.host() {
            // Literals never reach a resolver, which might think otherwise of them.
            Host::V4(address) => vec![SocketAddr::new((*address).into(), origin.port())],
            Host::V6(address) => vec![SocketAddr::new((*address).into(), origin.port())],
            Host::Name(name) => {
                check_name(origin, name)?;
                self.resolver
                    .resolve(name, origin.port())
                    .await
                    .map_err(|error| {
                        tracing::debug!(%origin, %error, "the name did not resolve");
                        Error::Unavailable(format!("the name of {origin} could not be resolved"))
                    })?
            }
        };
        if addresses.is_empty() {
            return Err(Error::Unavailable(format!(
                "the name of {origin} has no address"
            )));
        }
        // One bad answer is enough: which one is used would otherwise be the attacker's to choose.
        let refused = addresses.iter().find(|address| {
            address.port() != origin.port()
                || match reach {
                    Reach::Public => !is_public(address.ip()),
                    Reach::Loopback => !address.ip().is_loopback(),
                    Reach::Any => false,
                }
        });
        if let Some(address) = refused {
            tracing::warn!(%origin, %address, "refused an address");
            return Err(Error::Forbidden(match reach {
                Reach::Loopback => format!("{origin} is not on this machine"),
                _ => format!("{origin} leads to an address that is not on the public internet"),
            }));
        }
        Ok(addresses)
    }
}

/// Tries the addresses in order.
async fn dial(origin: &Origin, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Error> {
    for address in addresses {
        match TcpStream::connect(address).await {
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

/// Letters, digits, hyphens and dots; the last label no number, which resolvers take for an address.
fn check_name(origin: &Origin, name: &str) -> Result<(), Error> {
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
