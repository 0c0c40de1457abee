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
    let secrets = vault.list().await.map_err(|error| {
        tracing::error!(%error, "the vault could not be read");
        Error::Unavailable("the vault can't be read".to_owned())
    })?;
    if !secrets.iter().any(|secret| secret.name == *name) {
        return Err(Error::NotFound(format!("no secret is named `{name}`")));
    }
    Ok(())
}
