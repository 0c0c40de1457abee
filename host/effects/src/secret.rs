//! Handles to secrets. A handle is a checked name; the value is put in by the egress.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{Action, ActionKind, Context, EffectClass, Label, Payload, Permit, kind};
use nexus_manifest::SecretName;
use nexus_vault::Vault;
use serde_json::json;

use crate::Error;

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
