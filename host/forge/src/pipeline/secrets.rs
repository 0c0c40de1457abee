//! What an agent will miss of the vault.

use nexus_manifest::{Manifest, Permission, SecretPermission};
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
    let what = match vault.info(name).await {
        Err(Error::NotFound(_)) => format!("the vault has no secret `{name}`"),
        // What can't be read now is told to the agent that asks for it.
        Err(_) => return None,
        Ok(found) => {
            let closed = audience
                .iter()
                .find(|origin| !found.audience.contains(*origin))?;
            format!("the vault's secret `{name}` may not go to {closed}")
        }
    };
    let audience: String = audience
        .iter()
        .map(|origin| format!(" --audience {origin}"))
        .collect();
    Some(format!(
        "{what}; before the agent is called: `nexus vault set {name}{audience}`"
    ))
}
