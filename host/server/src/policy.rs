//! The operator's policy: the file that the configuration names, read again on SIGHUP.
//!
//! The file is not watched: half of a policy, as an editor may leave it for a moment, can be a valid
//! policy that forbids less. Whoever has finished it says so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use nexus_gate::{Gate, Policy, PolicyChange, PolicyError, PolicySource, Principal};
use nexus_manifest::error_chain;

use crate::config::Config;

/// The policy to start with, and where it comes from.
pub(crate) fn at_start(config: &Config) -> anyhow::Result<(Policy, PolicySource)> {
    let Some(path) = &config.approvals.policy else {
        return Ok((Policy::shipped(), PolicySource::Shipped));
    };
    let policy = Policy::parse(&read(path)?).with_context(|| {
        format!(
            "the policy {} is refused; the host does not start on a policy that it can't evaluate",
            path.display()
        )
    })?;
    Ok((policy, PolicySource::File))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The policy of a running host. A handle: clones share all of it.
#[derive(Clone)]
pub struct HostPolicy {
    gate: Gate,
    file: Option<PathBuf>,
    /// Why the file, as it was last read, was refused.
    refused: Arc<Mutex<Option<String>>>,
}

impl HostPolicy {
    pub(crate) fn new(gate: Gate, config: &Config) -> Self {
        Self {
            gate,
            file: config.approvals.policy.clone(),
            refused: Arc::default(),
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Why the file was refused, if it was.
    pub(crate) fn refused(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Reads the file again. What can't be used is refused loudly, and the policy in force stays.
    pub(crate) async fn reload(&self) {
        let Some(file) = &self.file else {
            tracing::info!("no policy file is configured; there is nothing to read again");
            return;
        };
        let replaced = self.replace(file).await;
        if let Err(error) = &replaced {
            *self.lock() = Some(error_chain(&**error));
        }
        match replaced {
            Ok(version) => {
                tracing::info!(file = %file.display(), %version, "the policy was read again");
            }
            Err(error) => {
                let why = error_chain(&*error);
                tracing::error!(
                    file = %file.display(),
                    error = why,
                    stays = %self.gate.policy().version(),
                    "the policy is REFUSED; the one in force stays"
                );
            }
        }
    }

    async fn replace(&self, file: &Path) -> anyhow::Result<nexus_gate::PolicyVersion> {
        let text = read(file)?;
        let policy = match Policy::parse(&text) {
            Ok(policy) => policy,
            Err(error) => {
                *self.lock() = Some(error.to_string());
                self.refuse(&error).await;
                return Err(error.into());
            }
        };
        *self.lock() = None;
        let change = PolicyChange {
            policy,
            source: PolicySource::File,
            principal: Principal::new("nexus"),
            replaces: None,
        };
        let set = self.gate.set_policy(change).await?;
        Ok(set.policy.version())
    }

    async fn refuse(&self, error: &PolicyError) {
        let nexus = Principal::new("nexus");
        let recorded = self
            .gate
            .refuse_policy(PolicySource::File, &nexus, error)
            .await;
        if let Err(error) = recorded {
            tracing::error!(%error, "that a policy was refused could not be recorded");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
