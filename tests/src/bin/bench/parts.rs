//! The host's parts in this process, for what can only be measured from inside.

use std::sync::Arc;

use nexus_audit::{Audit, SigningKey};
use nexus_effects::http::{Egress, EgressOptions};
use nexus_effects::memory::Memory;
use nexus_gate::{Gate, Policy};
use nexus_runtime::Services;
use nexus_store::{Blobs, RedbStore, Store};
use nexus_vault::{MasterKey, Vault};
use tempfile::TempDir;

/// Everything below the runtime, over a real store in a temporary directory.
pub(crate) async fn services(directory: &TempDir) -> anyhow::Result<Arc<Services>> {
    let path = directory.path();
    let store: Arc<dyn Store> = RedbStore::open(path, nexus_store::Options::default())?;
    let audit = Audit::open(Arc::clone(&store), SigningKey::generate()?).await?;
    let master = MasterKey::load_or_create(path.join("vault.key"))?;
    let vault = Vault::open(Arc::clone(&store), audit.clone(), master).await?;
    let options = nexus_gate::Options::new(
        Arc::clone(&store),
        audit.clone(),
        vault.clone(),
        Policy::shipped(),
    );
    let gate = Gate::open(options).await?;
    Ok(Arc::new(Services {
        blobs: Blobs::open(path.join("blobs"))?,
        memory: Memory::new(Arc::clone(&store), audit.clone(), vault.clone()),
        egress: Arc::new(Egress::new(EgressOptions::default())?),
        store,
        audit,
        vault,
        gate,
    }))
}
