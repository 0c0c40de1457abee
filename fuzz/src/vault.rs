//! The vault's rows, and what it seals: whatever is changed, nothing wrong is ever returned.

use std::sync::{Arc, OnceLock};

use nexus_audit::{Audit, SigningKey};
use nexus_store::{Commit, RedbStore, Scan, Store, Table};
use nexus_vault::{MasterKey, SecretName, Vault};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::bytes::Bytes;

const SECRETS: Table = Table("vault_secrets");
const VALUE: &str = "the value of the secret";
const CONTEXT: &str = "approvals/one";
const TEXT: &[u8] = b"what an approval shows";

struct House {
    runtime: Runtime,
    store: Arc<dyn Store>,
    vault: Vault,
    name: SecretName,
    /// The secret's row as it was written, by its key.
    row: (Vec<u8>, Vec<u8>),
    sealed: Vec<u8>,
    _directory: TempDir,
}

pub(crate) fn run(data: &[u8]) {
    let house = house();
    let mut bytes = Bytes(data);
    if bytes.byte() % 16 != 0 {
        let context = if bytes.byte().is_multiple_of(8) {
            bytes.text()
        } else {
            CONTEXT.to_owned()
        };
        let sealed = edited(&house.sealed, &mut bytes);
        if let Ok(text) = house.vault.unseal(&context, &sealed) {
            assert!(
                sealed == house.sealed && context == CONTEXT,
                "opened what was not sealed so"
            );
            assert_eq!(text.as_slice(), TEXT);
        }
        return;
    }
    let row = edited(&house.row.1, &mut bytes);
    if row == house.row.1 {
        return;
    }
    house.runtime.block_on(async {
        let mut commit = Commit::new();
        commit.put(SECRETS, house.row.0.clone(), row);
        house.store.commit(commit).await.unwrap();
        if let Ok(secret) = house.vault.open_secret(&house.name).await {
            // White space and the like may differ; what it means may not.
            assert_eq!(secret.expose(), VALUE);
            let audience: Vec<_> = secret
                .audience()
                .iter()
                .map(|origin| origin.as_str())
                .collect();
            assert_eq!(audience, ["https://api.example.com"]);
            assert_eq!(secret.version(), 1);
        }
        let _ = house.vault.list().await;
    });
}

/// The bytes after a few edits, or others in their place.
fn edited(original: &[u8], bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut edited = original.to_vec();
    if bytes.byte().is_multiple_of(8) {
        return bytes.0.to_vec();
    }
    while !bytes.is_empty() && !edited.is_empty() {
        let at = bytes.below(edited.len());
        match bytes.byte() % 4 {
            0 => edited[at] ^= bytes.byte(),
            1 => edited.truncate(at),
            2 => drop(edited.splice(at..at, bytes.some().iter().copied())),
            _ => {
                let end = (at + usize::from(bytes.byte())).min(edited.len());
                edited.splice(at..end, bytes.some().iter().copied());
            }
        }
    }
    edited
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let directory = TempDir::new().unwrap();
        let name: SecretName = "exchange-key".parse().unwrap();
        let (store, vault, row) = runtime.block_on(async {
            let store: Arc<dyn Store> =
                RedbStore::open(directory.path(), nexus_store::Options::default()).unwrap();
            let audit = Audit::open(Arc::clone(&store), SigningKey::generate().unwrap())
                .await
                .unwrap();
            let vault = Vault::open(Arc::clone(&store), audit, MasterKey::from_bytes([7; 32]))
                .await
                .unwrap();
            let audience = vec!["https://api.example.com".parse().unwrap()];
            vault
                .set(&name, &VALUE.to_owned().into(), audience, "operator")
                .await
                .unwrap();
            let rows = store.scan(SECRETS, Scan::prefix("")).await.unwrap();
            let row = rows.into_iter().next().unwrap();
            (store, vault, row)
        });
        let sealed = vault.seal(CONTEXT, TEXT).unwrap();
        House {
            runtime,
            store,
            vault,
            name,
            row,
            sealed,
            _directory: directory,
        }
    })
}
