//! TLS: certificate, key and, if clients must have certificates, who may have issued them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// What is served with. The files are looked at for each connection, so that a renewed certificate
/// is used from the next one on; while they do not fit together, the last good ones are.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<PathBuf>,
    current: Mutex<(Seen, Arc<ServerConfig>)>,
}

/// When each file was last written, and how long it is.
type Seen = Vec<Option<(SystemTime, u64)>>;

impl Tls {
    /// Reads the files. With `clients`, whoever connects needs a certificate that one of these
    /// authorities has issued, in addition to a token.
    pub(crate) fn open(
        certificate: &Path,
        key: &Path,
        clients: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let seen = seen(certificate, key, clients);
        let config = read(certificate, key, clients)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            clients: clients.map(Path::to_owned),
            current: Mutex::new((seen, Arc::new(config))),
        })
    }

    /// What to serve the next connection with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let now = seen(&self.certificate, &self.key, self.clients.as_deref());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != now {
            match read(&self.certificate, &self.key, self.clients.as_deref()) {
                Ok(config) => {
                    tracing::info!(certificate = %self.certificate.display(), "certificate reloaded");
                    *current = (now, Arc::new(config));
                }
                // One of the files may not be written yet: the next connection looks again.
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the new certificate is not used"
                    );
                }
            }
        }
        Arc::clone(&current.1)
    }
}

fn seen(certificate: &Path, key: &Path, clients: Option<&Path>) -> Seen {
    let files = [Some(certificate), Some(key), clients];
    files
        .into_iter()
        .flatten()
        .map(|file| {
            let file = std::fs::metadata(file).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
        .collect()
}

fn read(certificate: &Path, key: &Path, clients: Option<&Path>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(file)? {
                roots
                    .add(authority)
                    .with_context(|| format!("{} holds what is no authority", file.display()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{} does not read as a PEM key", key.display()))?;
    let mut config = builder.with_single_cert(chain, private).with_context(|| {
        format!(
            "{} and {} do not belong together",
            certificate.display(),
            key.display()
        )
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} does not read as PEM certificates", file.display()))?;
    if read.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(read)
}
