//! Letting go of old audit records, each time that a checkpoint was made.

use nexus_audit::{Audit, Retain};
use nexus_vault::Vault;

/// Prunes the trail in the background for as long as the host serves. Nothing is asked of an idle host:
/// without new records there is no new checkpoint.
pub(crate) fn keep(audit: Audit, vault: Vault, retain: Retain) {
    if retain == Retain::default() {
        return;
    }
    let mut checkpoints = audit.checkpoints();
    tokio::spawn(async move {
        loop {
            loop {
                // The vault finds by the trail whether an old one was put in its place.
                let anchored = async {
                    let anchored = vault.anchor().await;
                    anchored
                        .inspect_err(|error| {
                            tracing::warn!(
                                error = crate::fault::chain(error),
                                "the vault is not anchored"
                            );
                        })
                        .is_ok()
                };
                match audit.prune(&retain, anchored).await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(
                            error = crate::fault::chain(&error),
                            "old audit records stay; the next checkpoint tries again"
                        );
                        break;
                    }
                }
            }
            if checkpoints.changed().await.is_err() {
                return;
            }
        }
    });
}
