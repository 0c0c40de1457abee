//! Letting go of what is old, when a checkpoint of the trail was made: nothing is asked of an idle
//! host.

use std::time::{Duration, Instant, SystemTime};

use nexus_audit::{Audit, Retain};
use nexus_manifest::error_chain;
use nexus_runtime::Runtime;
use nexus_store::unix_ms;
use nexus_vault::Vault;

/// Checkpoints can follow each other quickly; what is old does not change that fast.
const BETWEEN: Duration = Duration::from_secs(60 * 60);

/// Prunes the trail in the background for as long as the host serves.
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
                            tracing::warn!(error = error_chain(error), "the vault is not anchored");
                        })
                        .is_ok()
                };
                match audit.prune(&retain, anchored).await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(
                            error = error_chain(&error),
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

/// Forgets invocations and approvals that were over longer ago than these are kept, and the request
/// ids that nobody repeats any more, for as long as the host serves.
pub(crate) fn forget(runtime: Runtime, invocations: Duration, approvals: Duration) {
    let mut checkpoints = runtime.services().audit.checkpoints();
    tokio::spawn(async move {
        let mut last = None;
        loop {
            if last.is_none_or(|last: Instant| last.elapsed() >= BETWEEN) {
                last = Some(Instant::now());
                let before = |kept| {
                    let cutoff = SystemTime::now().checked_sub(kept);
                    cutoff.unwrap_or(SystemTime::UNIX_EPOCH)
                };
                if let Err(error) = runtime.forget_invocations(before(invocations)).await {
                    tracing::warn!(
                        error = error_chain(&error),
                        "old invocations stay; the next hour tries again"
                    );
                }
                let cutoff = unix_ms(before(approvals));
                if let Err(error) = runtime.services().gate.forget_approvals(cutoff).await {
                    tracing::warn!(
                        error = error_chain(&error),
                        "old approvals stay; the next hour tries again"
                    );
                }
            }
            if checkpoints.changed().await.is_err() {
                return;
            }
        }
    });
}
