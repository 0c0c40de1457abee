//! What an agent will miss of the vault.

use nexus_manifest::{Manifest, Origin, Permission, SecretPermission};
use nexus_vault::{Error, Vault};

/// What the vault lacks of the secrets that an agent may use, in sentences that say what to do. A forge
/// goes on without them: who sets secrets need not be who has agents made.
pub(super) async fn missing(vault: &Vault, manifest: &Manifest) -> Vec<String> {
    let mut missing = Vec::new();
    for permission in &manifest.permissions {
        if let Permission::Secret(secret) = permission {
            missing.extend(lacks(vault, secret).await);
        }
    }
    missing
}

async fn lacks(vault: &Vault, secret: &SecretPermission) -> Option<String> {
    let SecretPermission { name, audience, .. } = secret;
    let origins = |audience: &[Origin]| -> String {
        audience
            .iter()
            .map(|origin| format!(" --audience {origin}"))
            .collect()
    };
    match vault.info(name).await {
        Err(Error::NotFound(_)) => Some(format!(
            "the vault has no secret `{name}`; before the agent is called: `nexus vault set {name}{}`",
            origins(audience)
        )),
        // What can't be read now is told to the agent that asks for it.
        Err(_) => None,
        Ok(found) => {
            let closed = audience
                .iter()
                .find(|origin| !found.audience.contains(*origin))?;
            // No command: to set it anew for this agent would take it from those that have it.
            Some(format!(
                "the vault's secret `{name}` may not go to {closed}, and so the agent can't send it there; \
                 `nexus vault list` shows where it may go"
            ))
        }
    }
}
