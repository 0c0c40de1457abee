//! Handles to secrets, and their values where an agent may have them.
//!
//! A handle is a checked name; the value is put in by the egress. [`reveal`] is the one function that
//! gives a value to a guest.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{Action, ActionKind, Context, EffectClass, Finish, Label, Payload, Permit, kind};
use nexus_manifest::{Digest, SecretName};
use nexus_vault::{Secret, Vault};
use serde_json::json;

use crate::leak::MIN_LENGTH;
use crate::{Error, Watch};

/// The longest reason that an agent may give.
const MAX_REASON: usize = 1024;

/// The action that takes a handle, as it is given to the gate.
pub fn open_action(
    context: Arc<Context>,
    sequence: u64,
    labels: BTreeSet<Label>,
    name: &SecretName,
) -> Action {
    Action {
        kind: ActionKind::Effect,
        context,
        sequence,
        capability: "vault",
        verb: "open".to_owned(),
        target: name.to_string(),
        class: EffectClass::Read,
        labels,
        payload: Payload::new(json!({})),
    }
}

/// Spends the permit and makes sure that there is such a secret.
pub async fn open(
    permit: Permit<kind::SecretOpen>,
    name: &SecretName,
    vault: &Vault,
) -> Result<(), Error> {
    if permit.action().target != name.as_str() {
        return Err(Error::Forbidden(
            "the permit is for another secret".to_owned(),
        ));
    }
    permit.read(&Payload::new(json!({}))).await?;
    vault
        .info(name)
        .await
        .map(drop)
        .map_err(|error| unopened(name, &error))
}

/// A wish to see a secret.
#[derive(Debug, Clone)]
pub struct Reveal {
    name: SecretName,
    reason: String,
}

impl Reveal {
    /// For this reason, which the person who is asked will read.
    pub fn new(name: SecretName, reason: String) -> Result<Self, Error> {
        if reason.trim().is_empty() || reason.len() > MAX_REASON {
            return Err(Error::Invalid(format!(
                "say in 1 to {MAX_REASON} bytes what the secret is needed for"
            )));
        }
        Ok(Self { name, reason })
    }

    /// Which secret.
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// The action, as it is given to the gate. It has the secret's name and never its value.
    pub fn action(&self, context: Arc<Context>, sequence: u64, labels: BTreeSet<Label>) -> Action {
        Action {
            kind: ActionKind::Reveal,
            context,
            sequence,
            capability: "vault",
            verb: "reveal".to_owned(),
            target: self.name.to_string(),
            class: EffectClass::Irreversible,
            labels,
            payload: self.payload(),
        }
    }

    fn payload(&self) -> Payload {
        Payload::new(json!({ "reason": self.reason }))
    }
}

/// Whether the operator lets agents see the secret at all.
pub async fn check_revealable(name: &SecretName, vault: &Vault) -> Result<(), Error> {
    let info = vault.info(name).await;
    let info = info.map_err(|error| unopened(name, &error))?;
    if info.revealable {
        return Ok(());
    }
    Err(not_revealable(name))
}

/// Spends the permit and gives the value. From here on `watch` looks for it in whatever the
/// invocation hands out. The trail has its name and version.
pub async fn reveal(
    permit: Permit<kind::SecretReveal>,
    reveal: &Reveal,
    vault: &Vault,
    watch: &Watch,
) -> Result<Secret, Error> {
    let name = &reveal.name;
    if permit.action().target != name.as_str() {
        return Err(Error::Forbidden(
            "the permit is for another secret".to_owned(),
        ));
    }
    let receipt = permit.start(&reveal.payload()).await?;
    let opened = watched(name, vault, watch).await;
    let finish = Finish {
        ok: opened.is_ok(),
        // A digest of the value would let whoever reads the trail try out guesses.
        result: Digest::of(b""),
        detail: match &opened {
            Ok(secret) => json!({ "version": secret.version() }),
            Err(error) => json!({ "error": error.to_string() }),
        },
    };
    receipt.finish(finish).await.map_err(|error| {
        tracing::error!(secret = %name, %error, "the end of a reveal could not be recorded");
        Error::Unavailable("what can't be recorded is not revealed".to_owned())
    })?;
    opened
}

/// The value, once it is looked for. What can't be looked for is not given.
async fn watched(name: &SecretName, vault: &Vault, watch: &Watch) -> Result<Secret, Error> {
    let secret = vault.open_secret(name).await;
    let secret = secret.map_err(|error| unopened(name, &error))?;
    if !secret.is_revealable() {
        return Err(not_revealable(name));
    }
    if secret.expose().len() < MIN_LENGTH {
        return Err(Error::Forbidden(format!(
            "the secret `{name}` has less than {MIN_LENGTH} bytes, which nobody could look for in what leaves the host"
        )));
    }
    watch.add(name.as_str(), secret.expose().as_bytes());
    Ok(secret)
}

fn not_revealable(name: &SecretName) -> Error {
    Error::Forbidden(format!(
        "the operator lets no agent see the secret `{name}`: it was not set with `--revealable`"
    ))
}

/// Why a secret can't be used, in words for its agent.
pub(crate) fn unopened(name: &SecretName, error: &nexus_vault::Error) -> Error {
    match error {
        nexus_vault::Error::NotFound(_) => Error::NotFound(error.to_string()),
        nexus_vault::Error::Tampered { .. } => {
            tracing::error!(secret = %name, "a secret's row was changed outside the vault");
            Error::Other(format!(
                "the secret `{name}` was changed outside the vault and is not used until it is set anew"
            ))
        }
        error => {
            tracing::error!(secret = %name, %error, "a secret could not be opened");
            Error::Other(format!("the secret `{name}` could not be opened"))
        }
    }
}
