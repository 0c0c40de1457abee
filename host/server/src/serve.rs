//! Serving: from options to a drained stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use nexus_proto::v1::agent_service_server::AgentServiceServer;
use nexus_proto::v1::approval_service_server::ApprovalServiceServer;
use nexus_proto::v1::audit_service_server::AuditServiceServer;
use nexus_proto::v1::build_service_server::BuildServiceServer;
use nexus_proto::v1::forge_service_server::ForgeServiceServer;
use nexus_proto::v1::invocation_service_server::InvocationServiceServer;
use nexus_proto::v1::memory_service_server::MemoryServiceServer;
use nexus_proto::v1::policy_service_server::PolicyServiceServer;
use nexus_proto::v1::system_service_server::SystemServiceServer;
use nexus_proto::v1::vault_service_server::VaultServiceServer;
use nexus_vault::ExposeSecret as _;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower::Layer as _;

use crate::auth::AuthLayer;
use crate::config::{self, Config};
use crate::doors::{Names, Tls, incoming};
use crate::gateway::GatewayLayer;
use crate::head::HeadLayer;
use crate::host::Host;
use crate::policy::HostPolicy;
use crate::requests::Requests;
use crate::service;

/// The largest request message; components travel in chunks.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;
/// Streams of one connection at once.
const MAX_STREAMS: u32 = 1024;
/// Bytes of request headers.
pub(crate) const MAX_HEADERS: u32 = 16 << 10;

/// What ended invocations and the end of the trail get to be written, after the drain.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// What threads that block get to come back, at the very end.
const ABANDON: Duration = Duration::from_secs(2);

/// What the command line says of serving.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The data directory, in place of the configured one.
    pub data: Option<PathBuf>,
    /// The listener's address, in place of the configured one.
    pub listen: Option<SocketAddr>,
    /// Print the configuration in force and stop.
    pub print_config: bool,
}

/// Reads the configuration, opens the host, serves until SIGINT or SIGTERM, and drains.
///
/// Builds its own Tokio runtime: guests and connections share its threads, and its poll interval is
/// what keeps a looping guest from delaying others.
pub fn main(options: &ServeOptions) -> anyhow::Result<()> {
    let config = configure(options)?;
    if options.print_config {
        use std::io::Write as _;
        std::io::stdout().write_all(config.to_toml()?.as_bytes())?;
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.runtime.worker_threads())
        // The default of 61 lets looping guests hold up everybody's input for 61 of their ticks.
        .event_interval(8)
        .enable_all()
        .build()
        .context("failed to start the threads")?;
    let served = runtime.block_on(serve(config, options));
    // What blocks a thread, a name that does not resolve or a file that others hold, can't be ended,
    // and is not waited for: everything that has to be written is written by now.
    runtime.shutdown_timeout(ABANDON);
    served
}

fn configure(options: &ServeOptions) -> anyhow::Result<Config> {
    let mut config = match &options.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    if let Some(data) = &options.data {
        config.data.dir = Some(data.clone());
    }
    if let Some(listen) = options.listen {
        config.server.listen = listen;
    }
    Ok(config)
}

async fn serve(config: Config, options: &ServeOptions) -> anyhow::Result<()> {
    // A dump of this process would hold keys and secrets.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).context("failed to switch core dumps off")?;
    let listen = config.server.listen;
    let tls = tls(&config.server)?;
    if !listen.ip().is_loopback() && tls.is_none() && !config.server.allow_plaintext {
        bail!(
            "{listen} is not a loopback address, and without TLS tokens would travel in clear; set `certificate` and \
             `key` under [server], listen on 127.0.0.1 behind a TLS proxy, or set `allow_plaintext = true`"
        );
    }
    // Bound before anything else: a port in use must not cost a start of the store.
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("failed to listen on {listen}; stop what uses it, or choose another with --listen")
    })?;
    let address = listener.local_addr()?;
    let drain = Duration::from_secs(config.server.drain_seconds);
    let host = Host::open(&config, address).await?;
    let endpoint = host.data_dir.join("endpoint");
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    std::fs::write(&endpoint, format!("{url}\n"))
        .with_context(|| format!("failed to write {}", endpoint.display()))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("failed to shut other processes of this user out of the memory")?;
    tell_recovery(&host, options).await?;
    // Before anybody knows that the host is up: the signal would end a process that has no ear for it.
    let reload = signal(SignalKind::hangup())?;
    tokio::spawn(reread(host.policy.clone(), reload));
    announce(&url)?;
    tracing::info!(%address, data = %host.data_dir.display(), "serving");

    let stop = CancellationToken::new();
    let served = tokio::spawn(run(
        host.clone(),
        config.server,
        config.model.is_some(),
        listener,
        tls,
        stop.clone(),
    ));
    stopped().await?;
    tracing::info!(seconds = drain.as_secs(), "draining");
    stop.cancel();
    let _ = std::fs::remove_file(&endpoint);
    // Idle connections and silent clients could hold a graceful stop for ever; invocations get the
    // same time, and what they were doing is in the trail before the process ends.
    let close = tokio::time::timeout(drain + LAST_WORDS, host.close(drain));
    let (served, closed) = tokio::join!(tokio::time::timeout(drain, served), close);
    if served.is_err() {
        tracing::warn!("connections were still open at the end of the drain");
    }
    if closed.is_err() {
        tracing::error!("what was under way did not end, or the end of the trail is not written");
    }
    Ok(())
}

/// The certificate to serve with, if there is one.
fn tls(config: &config::Server) -> anyhow::Result<Option<Tls>> {
    let clients = config.client_authorities.as_deref();
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => Tls::open(certificate, key, clients)
            .map(Some)
            .context("failed to set up TLS"),
        (None, None) if clients.is_none() => Ok(None),
        _ => bail!(
            "TLS needs both `certificate` and `key` under [server], and `client_authorities` needs TLS"
        ),
    }
}

async fn run(
    host: Host,
    config: config::Server,
    model: bool,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(nexus_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let head = HeadLayer::new(host.services.audit.clone());
    let auth = AuthLayer::new(host.tokens.clone(), &config);
    let gateway = GatewayLayer::new(Names::configured(&config), model)?;
    let services = &host.services;
    macro_rules! service {
        ($server:ident, $service:expr) => {
            $server::new($service).max_decoding_message_size(MAX_MESSAGE)
        };
    }
    let routes = tonic::service::Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(service!(
            AgentServiceServer,
            service::agents::Agents {
                deploys: Requests::new("DeployAgent", Arc::clone(&services.store)),
                uploads: service::agents::Uploads::default(),
                host: host.clone()
            }
        ))
        .add_service(service!(
            InvocationServiceServer,
            service::invocations::Invocations { host: host.clone() }
        ))
        .add_service(service!(
            ApprovalServiceServer,
            service::approvals::Approvals {
                gate: services.gate.clone(),
                forge: host.forge.clone()
            }
        ))
        .add_service(service!(
            ForgeServiceServer,
            service::forge::Forging {
                named: Requests::new("ForgeAgent", Arc::clone(&services.store)),
                host: host.clone()
            }
        ))
        .add_service(service!(
            BuildServiceServer,
            service::build::Building::new(host.clone())
        ))
        .add_service(service!(
            VaultServiceServer,
            service::vault::Secrets {
                vault: services.vault.clone()
            }
        ))
        .add_service(service!(
            MemoryServiceServer,
            service::memory::Spaces {
                memory: services.memory.clone()
            }
        ))
        .add_service(service!(
            PolicyServiceServer,
            service::policy::Policies {
                policy: host.policy.clone(),
                runtime: host.runtime.clone()
            }
        ))
        .add_service(service!(
            AuditServiceServer,
            service::audit::Trail {
                audit: services.audit.clone()
            }
        ))
        .add_service(service!(
            SystemServiceServer,
            service::system::System {
                host: host.clone(),
                started: SystemTime::now()
            }
        ));
    Server::builder()
        .layer(tower::layer::layer_fn(move |inner| {
            gateway.layer(auth.layer(head.layer(inner)))
        }))
        .accept_http1(true)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_pending_accept_reset_streams(Some(64))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            incoming(listener, tls, config.connections),
            stop.cancelled_owned(),
        )
        .await?;
    Ok(())
}

/// Says on standard output that the host answers, for whoever started it.
fn announce(url: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    writeln!(output, "listening on {url}")?;
    output.flush()?;
    Ok(())
}

/// Tells the vault's recovery copy to the person at the terminal, once. A log is no place for it, so
/// without a terminal it waits to be asked for.
async fn tell_recovery(host: &Host, options: &ServeOptions) -> anyhow::Result<()> {
    use std::io::Write as _;
    let vault = &host.services.vault;
    if vault.recovery_told() {
        return Ok(());
    }
    let mut terminal = std::io::stderr();
    if !std::io::IsTerminal::is_terminal(&terminal) {
        let flag = |name: &str, path: &Option<PathBuf>| match path {
            Some(path) => format!(" --{name} {}", path.display()),
            None => String::new(),
        };
        tracing::info!(
            "nobody has the vault's recovery copy yet: stop the host and run `nexus vault recovery{}{}`",
            flag("config", &options.config),
            flag("data", &options.data)
        );
        return Ok(());
    }
    let copy = vault.recovery_copy(false, "terminal").await?;
    let text = copy.text();
    writeln!(
        terminal,
        "\nThe vault's recovery copy, shown this once. With it and the data directory every secret can be read,\n\
         without it a lost master key loses them all. Write it down, and keep it away from this machine:\n\n    {}\n",
        text.expose_secret()
    )?;
    Ok(())
}

/// Reads the policy file again whenever that is asked for, by SIGHUP.
async fn reread(policy: HostPolicy, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        policy.reload().await;
    }
}

/// Returns when a stop was asked for.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
