//! The host as a whole: every part opened in order, wired once.

use std::fs::{DirBuilder, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nexus_audit::{Audit, Event, EventKind, SigningKey};
use nexus_effects::http::{Egress, EgressOptions};
use nexus_effects::memory::Memory;
use nexus_effects::operator_egress::OperatorOptions;
use nexus_forge::Forge;
use nexus_forge::build::Remote;
use nexus_gate::Gate;
use nexus_manifest::error_chain;
use nexus_proto::v1;
use nexus_runtime::{HostLimits, Runtime, Services};
use nexus_store::{Blobs, RedbStore, Store};
use nexus_vault::{RecoveryCopy, Vault};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::auth::Tokens;
use crate::config::{BuildHost, Config, Unattended};
use crate::forges::Forges;
use crate::keys::{self, Missing};
use crate::lock::EmergencyLock;
use crate::policy::{self, HostPolicy};
use crate::publish::Reviews;

/// Everything that serves requests. A handle: clones share all of it.
#[derive(Clone)]
pub struct Host {
    /// Where it keeps what it must not lose.
    pub data_dir: Arc<PathBuf>,
    /// What capabilities work with.
    pub services: Arc<Services>,
    /// Agents and their invocations.
    pub runtime: Runtime,
    /// Words to agents.
    pub forge: Forge,
    /// What becomes of them, and what they tell.
    pub(crate) forges: Forges,
    /// Who may call.
    pub tokens: Tokens,
    /// Uploads that wait for a person.
    pub reviews: Reviews,
    /// What stops everything at once.
    pub(crate) lock: EmergencyLock,
    /// What they may do.
    pub policy: HostPolicy,
}

impl Host {
    /// Opens the data directory, or makes it, and everything in it.
    ///
    /// The order is that of dependence: what is opened later stands on what was opened before, and
    /// whatever fails names the file and what to do.
    pub async fn open(config: &Config, listening: SocketAddr) -> anyhow::Result<Self> {
        let data_dir = config.data_dir();
        let in_data = |name: &str| data_dir.join(name);

        let (store, audit) = open_store(config).await?;
        let blobs = Blobs::open(in_data("blobs")).context("failed to open the blobs")?;
        let vault = keys::open_vault(config, &store, &audit).await?;
        let tokens = Tokens::open(Arc::clone(&store), audit.clone()).await?;
        tokens.ensure_operator(&in_data("operator.token")).await?;
        let lock = EmergencyLock::open(&data_dir, Arc::clone(&store), audit.clone()).await?;
        let (policy, policy_source) = policy::at_start(config)?;
        let gate = Gate::open(nexus_gate::Options {
            policy_source,
            approvers: Arc::new(tokens.clone()),
            lock: lock.in_memory(),
            shapes: Arc::new(nexus_effects::Shapes),
            deadline: config.approvals.deadline(),
            self_approval: config.approvals.self_approval.into(),
            queue_unattended: config.approvals.unattended == Unattended::Queue,
            questions_per_agent: config.approvals.questions_per_agent,
            ..nexus_gate::Options::new(Arc::clone(&store), audit.clone(), vault.clone(), policy)
        })
        .await
        .context("failed to open the gate")?;
        let policy = HostPolicy::new(gate.clone(), config);
        let egress = Arc::new(Egress::new(egress(config, listening)?)?);
        let private = config.memory.private_spaces.iter().cloned().collect();
        let memory =
            Memory::new(Arc::clone(&store), audit.clone(), vault.clone()).with_private(private);
        let sealed = memory.seal_leftovers().await;
        let sealed = sealed.context("failed to seal what agents remember")?;
        if sealed > 0 {
            tracing::info!(
                entries = sealed,
                "what agents remember is sealed now; an earlier version had left it in clear"
            );
        }

        let services = Arc::new(Services {
            store,
            blobs,
            audit,
            vault,
            gate,
            egress,
            memory,
        });
        let runtime = Runtime::open(
            runtime_options(config, &data_dir),
            Arc::clone(&services),
            nexus_capabilities::link,
        )
        .await
        .context("failed to open the runtime")?;
        lock.guard(services.gate.clone(), runtime.clone())?;
        crate::retention::keep(
            services.audit.clone(),
            services.vault.clone(),
            config.audit.retain(),
        );
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        crate::retention::forget(
            runtime.clone(),
            days(config.runtime.keep_invocations_days),
            days(config.approvals.keep_days),
        );
        let forge = Forge::open(forge_options(config, &data_dir)?, runtime.clone())
            .await
            .context("failed to open the forge")?;
        let forges =
            Forges::open(Arc::clone(&services.store), runtime.clone(), forge.clone()).await?;
        let detail = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "listen": listening.to_string() });
        services
            .audit
            .write(Event::new(EventKind::HostStarted).detail(detail))
            .await?;
        Ok(Self {
            data_dir: Arc::new(data_dir),
            services,
            runtime,
            forge,
            forges,
            tokens,
            reviews: Reviews::default(),
            lock,
            policy,
        })
    }

    /// Ends what still runs and writes the last record and checkpoint.
    pub async fn close(&self, grace: Duration) {
        self.runtime.drain(grace).await;
        self.lock.close();
        let stopped = self
            .services
            .audit
            .write(Event::new(EventKind::HostStopped))
            .await;
        let checkpoint = self.services.audit.checkpoint().await;
        if stopped.is_err() || checkpoint.is_err() {
            tracing::warn!("the end of the audit trail could not be written");
        }
    }

    /// What works and what is missing.
    pub(crate) async fn checks(&self) -> Vec<v1::Check> {
        let mut checks = vec![check(
            "store",
            self.services.store.head(nexus_audit::LOG).await.map(drop),
        )];
        checks.extend(
            self.forge
                .checks()
                .await
                .into_iter()
                .map(|(part, result)| check(part, result)),
        );
        checks
    }
}

fn check<E: std::error::Error + 'static>(part: &str, result: Result<(), E>) -> v1::Check {
    let (state, message) = match &result {
        Ok(()) => (v1::check::State::Ok, String::new()),
        Err(error) => (v1::check::State::Missing, error_chain(error)),
    };
    v1::Check {
        part: part.to_owned(),
        state: state.into(),
        message,
    }
}

/// The store in the data directory, and the trail in it.
async fn open_store(config: &Config) -> anyhow::Result<(Arc<dyn Store>, Audit)> {
    let data_dir = config.data_dir();
    private_dir(&data_dir)?;
    let store: Arc<dyn Store> = RedbStore::open(&data_dir, nexus_store::Options::default())?;
    let signing_key = config.audit.signing_key.clone();
    let signing_key = signing_key.unwrap_or_else(|| data_dir.join("audit.key"));
    let signing =
        SigningKey::load_or_create(signing_key).context("failed to open the audit signing key")?;
    let audit = Audit::open(Arc::clone(&store), signing)
        .await
        .context("failed to open the audit trail")?;
    Ok((store, audit))
}

/// The vault of a host that does not run.
pub(crate) async fn open_vault(config: &Config) -> anyhow::Result<Vault> {
    has_run(&config.data_dir())?;
    let (store, audit) = open_store(config).await?;
    keys::open_vault(config, &store, &audit).await
}

/// Seals the vault of a host that does not run with the configured master key, by its recovery copy.
pub(crate) async fn restore_vault(
    config: &Config,
    copy: &RecoveryCopy,
    principal: &str,
) -> anyhow::Result<()> {
    has_run(&config.data_dir())?;
    let (store, audit) = open_store(config).await?;
    let master = keys::master_key(&config.vault.key, &config.data_dir(), Missing::Made).await?;
    Vault::restore(store, audit, copy, master, principal)
        .await
        .map(drop)
        .context("failed to restore the vault")
}

/// Refuses a directory in which no host has run: what is about a vault that is there must not make one.
fn has_run(dir: &Path) -> anyhow::Result<()> {
    if RedbStore::exists(dir) {
        return Ok(());
    }
    bail!(
        "no host has run in {}; name its data directory with --data, or its configuration with --config",
        dir.display()
    )
}

/// Makes the data directory for its owner alone.
fn private_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| {
            format!(
                "failed to make the data directory {}; choose another with --data",
                dir.display()
            )
        })
}

/// The certificates in a PEM file, if one is named.
pub(crate) fn authorities(path: Option<&Path>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    let Some(path) = path else {
        return Ok(found);
    };
    let pem = read(path)?;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        found
            .push(certificate.with_context(|| format!("{} does not read as PEM", path.display()))?);
    }
    if found.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(found)
}

fn build_host(config: &BuildHost) -> anyhow::Result<Remote> {
    let token = match (&config.token_env, &config.token_file) {
        (Some(name), None) => std::env::var(name).with_context(|| {
            format!("[forge.remote] names the variable {name} for the token, and it is not set")
        })?,
        (None, Some(path)) => read(path)?,
        _ => bail!("[forge.remote] needs a token: set `token_env` or `token_file`, and not both"),
    };
    let options = OperatorOptions {
        bearer: Some(token.trim().to_owned().into()),
        allow_plain: config.allow_plaintext,
        extra_roots: authorities(config.ca.as_deref())?,
        ..OperatorOptions::default()
    };
    Remote::new(config.url.clone(), options, config.always)
        .context("failed to set up the way to the building host")
}

fn egress(config: &Config, listening: SocketAddr) -> anyhow::Result<EgressOptions> {
    let extra_roots = authorities(config.egress.extra_roots.as_deref())?;
    Ok(EgressOptions {
        private_origins: config.egress.private_origins.clone(),
        own_listeners: vec![listening],
        extra_roots,
        ..EgressOptions::default()
    })
}

fn runtime_options(config: &Config, data_dir: &Path) -> nexus_runtime::Options {
    let set = &config.runtime;
    nexus_runtime::Options {
        slots: set.instances,
        // Machine code is made in the same sandbox as components.
        compiler: nexus_runtime::Compiler::default()
            .limits(build_limits(&config.forge))
            .allow_unsandboxed(config.forge.allow_unsandboxed),
        limits: HostLimits {
            memory: set.memory_bytes,
            held_bytes: set.held_bytes,
            cpu: Duration::from_millis(set.cpu_ms),
            wall: Duration::from_millis(set.wall_ms),
            concurrent_per_agent: set.concurrency_per_agent,
            ..HostLimits::default()
        },
        ..nexus_runtime::Options::new(data_dir)
    }
}

fn forge_options(config: &Config, data_dir: &Path) -> anyhow::Result<nexus_forge::Options> {
    let model = match &config.model {
        None => None,
        Some(set) => {
            let roots = authorities(config.egress.extra_roots.as_deref())?;
            Some(crate::model::models(set, &roots)?)
        }
    };
    Ok(nexus_forge::Options {
        cargo: config.forge.cargo.clone(),
        rustc: config.forge.rustc.clone(),
        libraries: config.forge.libraries.clone(),
        allow_unsandboxed: config.forge.allow_unsandboxed,
        precompile_templates: config.forge.precompile_templates,
        limits: build_limits(&config.forge),
        remote: config.forge.remote.as_ref().map(build_host).transpose()?,
        model,
        budget: nexus_forge::Budget {
            forges: config.forge.per_hour,
            tokens: config.forge.tokens_per_hour,
        },
        ..nexus_forge::Options::new(data_dir.join("forge"))
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text)
}

/// What one compilation may use up.
pub(crate) fn build_limits(set: &crate::config::Forge) -> nexus_sandbox::Limits {
    let cpu = Duration::from_secs(set.build_cpu_seconds);
    nexus_sandbox::Limits {
        cpu_s: set.build_cpu_seconds,
        address_space: set.build_memory_bytes,
        wall: cpu.saturating_add(cpu / 2),
        ..nexus_sandbox::Limits::default()
    }
}
