//! T34: whatever is done to what the vault has stored, what it returns is what was last set, or nothing.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use nexus_audit::{Audit, SigningKey};
use nexus_store::{Commit, KeyValue, Options, RedbStore, Scan, Store, Table};
use nexus_vault::{Error, MasterKey, MasterKeyError, SecretName, Vault};

const SECRETS: Table = Table("vault_secrets");
const META: Table = Table("vault_meta");
const NAMES: [&str; 4] = ["a", "b", "c", "gone"];

struct Stage {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    audit: Audit,
    vault: Vault,
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn value(name: &str, version: u64) -> String {
    format!("the value of {name} in version {version}")
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = RedbStore::open(dir.path(), Options::default()).unwrap();
        let audit = Audit::open(store.clone(), SigningKey::generate().unwrap())
            .await
            .unwrap();
        let key = MasterKey::load_or_create(dir.path().join("vault.key")).unwrap();
        let vault = Vault::open(store.clone(), audit.clone(), key)
            .await
            .unwrap();
        Self {
            dir,
            store,
            audit,
            vault,
        }
    }

    fn key_file(&self) -> std::path::PathBuf {
        self.dir.path().join("vault.key")
    }

    async fn set(&self, text: &str) -> u64 {
        let list = self.vault.list().await.unwrap();
        let version = list.iter().find(|info| info.name.as_str() == text);
        let version = version.map_or(0, |info| info.version) + 1;
        let audience = vec!["https://api.example.com".parse().unwrap()];
        let set = self
            .vault
            .set(&name(text), &value(text, version).into(), audience, "op")
            .await
            .unwrap();
        assert_eq!(set.version, version);
        version
    }

    async fn reopen(&self) -> Result<Vault, Error> {
        let key = MasterKey::load(self.key_file())?;
        Vault::open(self.store.clone(), self.audit.clone(), key).await
    }

    /// All that the vault has in the store.
    async fn rows(&self) -> BTreeMap<Table, Vec<KeyValue>> {
        let mut all = BTreeMap::new();
        for table in [META, SECRETS] {
            all.insert(
                table,
                self.store.scan(table, Scan::default()).await.unwrap(),
            );
        }
        all
    }

    /// Makes the store hold exactly these rows.
    async fn put_back(&self, rows: &BTreeMap<Table, Vec<KeyValue>>) {
        let mut commit = Commit::new();
        for (table, wanted) in rows {
            for (key, _) in self.store.scan(*table, Scan::default()).await.unwrap() {
                commit.delete(*table, key);
            }
            for (key, row) in wanted {
                commit.put(*table, key, row.clone());
            }
        }
        self.store.commit(commit).await.unwrap();
    }

    async fn put(&self, table: Table, key: &[u8], row: &[u8]) {
        let mut commit = Commit::new();
        commit.put(table, key, row);
        self.store.commit(commit).await.unwrap();
    }
}

/// Opens everything there is; nothing may be anything but what was last set.
async fn nothing_wrong(vault: &Vault, last: &BTreeMap<&str, u64>) -> usize {
    let mut refused = 0;
    for text in NAMES {
        match (vault.open_secret(&name(text)).await, last.get(text)) {
            (Ok(secret), Some(version)) => {
                assert_eq!(secret.expose(), value(text, *version));
                assert_eq!(secret.version(), *version);
                assert_eq!(secret.audience().len(), 1);
                assert_eq!(secret.audience()[0].as_str(), "https://api.example.com");
            }
            (Err(Error::NotFound(_)), None) => {}
            (Err(Error::Tampered { .. } | Error::TooNew { .. }), _) => refused += 1,
            (result, version) => panic!("{text} {version:?}: {result:?}"),
        }
    }
    for info in vault
        .list()
        .await
        .unwrap()
        .iter()
        .filter(|info| !info.damaged)
    {
        assert_eq!(Some(&info.version), last.get(info.name.as_str()));
        assert_eq!(info.audience[0].as_str(), "https://api.example.com");
    }
    refused
}

#[tokio::test]
async fn t34_every_entry_put_back_or_exchanged_or_removed_is_found() {
    let stage = Stage::new().await;
    // Every state that the vault was ever in.
    let mut states = Vec::new();
    let mut last = BTreeMap::new();
    for text in ["a", "b", "a", "gone", "c", "b"] {
        states.push(stage.rows().await);
        last.insert(text, stage.set(text).await);
    }
    states.push(stage.rows().await);
    stage.vault.delete(&name("gone"), "op").await.unwrap();
    last.remove("gone");
    let now = stage.rows().await;

    // One entry at a time, from each of the states, and the entry of each other name.
    let mut found = 0;
    for text in NAMES {
        let current = now[&SECRETS].iter().find(|(key, _)| key == text.as_bytes());
        let current = current.unwrap().1.clone();
        let mut others: Vec<Option<Vec<u8>>> = vec![None];
        for (key, row) in states
            .iter()
            .chain([&now])
            .flat_map(|state| &state[&SECRETS])
        {
            let other = Some(row.clone());
            if *row != current && !others.contains(&other) {
                let _ = key;
                others.push(other);
            }
        }
        assert!(others.len() >= 6, "{}", others.len());
        for other in others {
            let mut commit = Commit::new();
            match &other {
                Some(row) => commit.put(SECRETS, text, row.clone()),
                None => commit.delete(SECRETS, text),
            };
            stage.store.commit(commit).await.unwrap();
            for vault in [&stage.vault, &stage.reopen().await.unwrap()] {
                assert!(matches!(
                    vault.open_secret(&name(text)).await,
                    Err(Error::Tampered { .. })
                ));
                assert_eq!(nothing_wrong(vault, &last).await, 1, "{text}");
                found += 1;
            }
        }
        stage.put(SECRETS, text.as_bytes(), &current).await;
    }
    assert!(found >= 48, "{found}");
    assert_eq!(
        nothing_wrong(&stage.reopen().await.unwrap(), &last).await,
        0
    );
}

#[tokio::test]
async fn t34_the_whole_vault_put_back_is_found() {
    let stage = Stage::new().await;
    let first_key = std::fs::read(stage.key_file()).unwrap();
    let mut last = BTreeMap::new();
    let mut states = vec![(stage.rows().await, first_key.clone())];
    for round in 0..3 {
        for text in ["a", "b", "c"] {
            last.insert(text, stage.set(text).await);
            let key = std::fs::read(stage.key_file()).unwrap();
            states.push((stage.rows().await, key));
        }
        if round == 1 {
            stage.vault.rotate_master_key("op").await.unwrap();
        }
    }
    let (now, key) = states.pop().unwrap();
    for (rows, old_key) in &states {
        // All rows of the vault, its key file, and where it looks for its anchor.
        stage.put_back(rows).await;
        std::fs::write(stage.key_file(), old_key).unwrap();
        match stage.reopen().await {
            // The same master key: the entries that differ are refused.
            Ok(vault) => assert!(nothing_wrong(&vault, &last).await > 0),
            // The vault's own row is an older one.
            Err(Error::Tampered { .. }) => assert_ne!(*old_key, key),
            Err(error) => panic!("{error}"),
        }
    }
    // An emptied store is not a new vault.
    let empty = [(META, Vec::new()), (SECRETS, Vec::new())].into();
    stage.put_back(&empty).await;
    assert!(matches!(stage.reopen().await, Err(Error::Tampered { .. })));
    stage.put_back(&now).await;
    std::fs::write(stage.key_file(), key).unwrap();
    assert_eq!(
        nothing_wrong(&stage.reopen().await.unwrap(), &last).await,
        0
    );
}

#[tokio::test]
async fn t34_no_flipped_byte_makes_the_vault_return_anything_wrong() {
    let stage = Stage::new().await;
    let mut last = BTreeMap::new();
    for text in ["a", "b", "gone", "a"] {
        last.insert(text, stage.set(text).await);
    }
    stage.vault.delete(&name("gone"), "op").await.unwrap();
    last.remove("gone");
    let now = stage.rows().await;
    let (mut flips, mut refused) = (0, 0);
    for (table, rows) in &now {
        for (key, row) in rows {
            for at in 0..row.len() {
                let mut bad = row.clone();
                bad[at] ^= 1 << (at % 8);
                stage.put(*table, key, &bad).await;
                flips += 1;
                let running = nothing_wrong(&stage.vault, &last).await;
                let started = match stage.reopen().await {
                    Ok(vault) => nothing_wrong(&vault, &last).await,
                    Err(Error::Tampered { .. } | Error::TooNew { .. }) => 1,
                    Err(error) => panic!("{error}"),
                };
                refused += usize::from(running + started > 0);
            }
            stage.put(*table, key, row).await;
        }
    }
    assert_eq!(
        nothing_wrong(&stage.reopen().await.unwrap(), &last).await,
        0
    );
    // What is not refused changes nothing: a hint where to look, and the case of a letter of an origin.
    assert!(
        flips > 1_000 && flips - refused < 100,
        "{refused} of {flips}"
    );
}

#[tokio::test]
async fn t34_no_flipped_byte_of_the_key_file_opens_anything_else() {
    let stage = Stage::new().await;
    let mut last = BTreeMap::new();
    last.insert("a", stage.set("a").await);
    let file = stage.key_file();
    let text = std::fs::read(&file).unwrap();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bad = text.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&file, &bad).unwrap();
            let same =
                bad.eq_ignore_ascii_case(&text) || bad.trim_ascii_end() == text.trim_ascii_end();
            match stage.reopen().await {
                // The case of a hexadecimal digit, and what stands after the last one.
                Ok(vault) => {
                    assert!(same, "byte {at}");
                    nothing_wrong(&vault, &last).await;
                }
                Err(Error::WrongMasterKey { .. }) => {}
                Err(Error::MasterKey(MasterKeyError::Damaged { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    for length in 0..text.len() - 1 {
        std::fs::write(&file, &text[..length]).unwrap();
        assert!(stage.reopen().await.is_err(), "{length} bytes");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(
        stage.reopen().await,
        Err(Error::MasterKey(MasterKeyError::Missing { .. }))
    ));
    assert!(
        !Path::new(&file).exists(),
        "no other key is made in its place"
    );
}
