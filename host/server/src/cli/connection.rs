//! Which host is called, and as whom.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use http::Uri;
use nexus_proto::v1::{
    agent_service_client::AgentServiceClient, approval_service_client::ApprovalServiceClient,
    audit_service_client::AuditServiceClient, build_service_client::BuildServiceClient,
    forge_service_client::ForgeServiceClient, invocation_service_client::InvocationServiceClient,
    memory_service_client::MemoryServiceClient, policy_service_client::PolicyServiceClient,
    system_service_client::SystemServiceClient, vault_service_client::VaultServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{args::Global, failure::Misuse, seen::Noting};

/// Where a host that was told no address listens.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7420";

/// The file of the data directory that says where its host listens.
const ENDPOINT_FILE: &str = "endpoint";

/// The file of the data directory that holds the operator's token.
const TOKEN_FILE: &str = "operator.token";

/// Approvals show whole payloads, so answers may be larger than gRPC's usual 4 MiB.
const MAX_MESSAGE: usize = 64 << 20;

/// A host and the right to call it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: String,
    pub(crate) token: String,
}

impl Target {
    /// The host that runs from a data directory.
    pub(crate) fn of_directory(directory: &Path) -> anyhow::Result<Self> {
        resolve(None, None, Some(directory))
    }
}

/// Chooses host and token: flags and environment come as `endpoint` and `token`, the rest is read
/// from the data directory. The directory's token is the operator's, so it is sent to hosts on this
/// machine only.
pub(crate) fn resolve(
    endpoint: Option<&str>,
    token: Option<&str>,
    directory: Option<&Path>,
) -> anyhow::Result<Target> {
    let read = |file: &str| {
        directory
            .and_then(|directory| fs::read_to_string(directory.join(file)).ok())
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    let endpoint = match endpoint.map(str::to_owned).or_else(|| read(ENDPOINT_FILE)) {
        Some(endpoint) => with_scheme(endpoint),
        None if token.is_some() => DEFAULT_ENDPOINT.to_owned(),
        // Whoever else listens on the usual port is not to be sent the directory's token.
        None => return Err(not_running(directory)),
    };
    let uri: Uri = endpoint
        .parse()
        .ok()
        .filter(|uri: &Uri| uri.host().is_some())
        .ok_or_else(|| Misuse(format!("{endpoint:?} is no URL; write http://host:port")))?;
    let token = match token {
        Some(token) => token.trim().to_owned(),
        None if !is_loopback(&uri) => {
            return Err(Misuse(format!(
                "{endpoint} is not on this machine; give the token to call it with by --token or NEXUS_TOKEN"
            ))
            .into());
        }
        None => read(TOKEN_FILE).ok_or_else(|| not_running(directory))?,
    };
    Ok(Target { endpoint, token })
}

fn not_running(directory: Option<&Path>) -> anyhow::Error {
    let place = directory.map_or_else(
        || "there is no data directory".to_owned(),
        |directory| format!("no host runs from {}", directory.display()),
    );
    anyhow!(
        "{place}; is `nexus serve` running? --endpoint and --token, or NEXUS_ENDPOINT and NEXUS_TOKEN, name \
         another host"
    )
}

fn with_scheme(endpoint: String) -> String {
    if endpoint.contains("://") {
        endpoint
    } else {
        format!("http://{endpoint}")
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Puts the token on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel that knows who calls.
pub(crate) type Transport = InterceptedService<Noting<Channel>, Bearer>;

/// The services of one host. Cloning shares the connection, which is made by the first call.
#[derive(Clone)]
pub(crate) struct Client {
    transport: Transport,
}

macro_rules! services {
    ($($(#[$doc:meta])* $method:ident: $client:ident),* $(,)?) => {
        impl Client {
            $($(#[$doc])* pub(crate) fn $method(&self) -> $client<Transport> {
                $client::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE)
            })*
        }
    };
}

services!(
    agents: AgentServiceClient,
    approvals: ApprovalServiceClient,
    audit: AuditServiceClient,
    build: BuildServiceClient,
    forge: ForgeServiceClient,
    invocations: InvocationServiceClient,
    memory: MemoryServiceClient,
    policy: PolicyServiceClient,
    system: SystemServiceClient,
    vault: VaultServiceClient,
);

impl Client {
    /// The client that the flags, the environment and the data directory name.
    pub(crate) fn connect(global: &Global) -> anyhow::Result<Self> {
        let directory: PathBuf = crate::config::default_data_dir();
        let present = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let target = resolve(
            present(&global.endpoint).as_deref(),
            present(&global.token).as_deref(),
            Some(&directory),
        )?;
        let identity = global.client_cert.as_deref();
        let identity = identity.zip(global.client_key.as_deref());
        Self::new(&target, global.ca.as_deref(), identity)
    }

    /// A client of this host.
    pub(crate) fn new(
        target: &Target,
        authorities: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from_shared(target.endpoint.clone())
            .map_err(|error| Misuse(format!("{:?} is no URL: {error}", target.endpoint)))?
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .tcp_nodelay(true);
        if target.endpoint.starts_with("https://") {
            let file = authorities.ok_or_else(|| {
                Misuse("an https URL needs --ca FILE with the authority that signed the host's certificate".to_owned())
            })?;
            let read = |file: &Path| {
                fs::read(file).with_context(|| format!("failed to read {}", file.display()))
            };
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?));
            if let Some((certificate, key)) = identity {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            endpoint = endpoint.tls_config(tls).context("failed to set up TLS")?;
        }
        let bearer = format!("Bearer {}", target.token)
            .parse::<MetadataValue<Ascii>>()
            .map_err(|_| Misuse("the token holds characters that no token has".to_owned()))?;
        Ok(Self {
            transport: InterceptedService::new(Noting(endpoint.connect_lazy()), Bearer(bearer)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(
            directory.path().join(ENDPOINT_FILE),
            "http://127.0.0.1:4000\n",
        )
        .expect("written");
        fs::write(directory.path().join(TOKEN_FILE), "from-file\n").expect("written");
        directory
    }

    #[test]
    fn what_is_said_comes_before_what_is_found() {
        let directory = directory();
        let target = resolve(Some("localhost:5000"), Some("said"), Some(directory.path()))
            .expect("resolved");
        assert_eq!(target.endpoint, "http://localhost:5000");
        assert_eq!(target.token, "said");

        let target = resolve(None, None, Some(directory.path())).expect("resolved");
        assert_eq!(target.endpoint, "http://127.0.0.1:4000");
        assert_eq!(target.token, "from-file");

        let target = resolve(None, Some("said"), None).expect("resolved");
        assert_eq!(target.endpoint, DEFAULT_ENDPOINT);
    }

    #[test]
    fn the_operators_token_stays_on_this_machine() {
        let directory = directory();
        for endpoint in [
            "http://192.0.2.1:7420",
            "https://nexus.example.com",
            "localhost.example:1",
        ] {
            let error = resolve(Some(endpoint), None, Some(directory.path()))
                .err()
                .expect("refused");
            assert!(error.to_string().contains("--token"), "{error}");
            assert!(resolve(Some(endpoint), Some("said"), Some(directory.path())).is_ok());
        }
        assert!(resolve(Some("http://[::1]:7420"), None, Some(directory.path())).is_ok());
    }

    #[test]
    fn without_a_token_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = resolve(None, None, Some(directory.path()))
            .err()
            .expect("refused");
        assert!(error.to_string().contains("nexus serve"), "{error}");

        // The token of a host that has stopped is not shown to whoever listens on the usual port.
        fs::write(directory.path().join(TOKEN_FILE), "left behind").expect("written");
        assert!(resolve(None, None, Some(directory.path())).is_err());
        assert!(resolve(Some("not a url"), Some("t"), None).is_err());
    }
}
