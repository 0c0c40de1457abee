//! Changes whose caller leaves at the commit, and commits that are answered with an error and are
//! written all the same: memory and store agree afterwards, and no key is lost.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

#[path = "../../store/tests/support/faulty.rs"]
mod faulty;

use std::sync::Arc;

use nexus_audit::{Audit, SigningKey};
use nexus_store::{Commit, Options, RedbStore, Store, Table};
use nexus_vault::{Error, MasterKey, SecretName, Vault};

use faulty::Faulty;

const SECRETS: &str = "vault_secrets";
const META: &str = "vault_meta";

struct Stage {
    dir: tempfile::TempDir,
    store: Arc<Faulty>,
    audit: Audit,
    vault: Vault,
}

fn name() -> SecretName {
    "a".parse().unwrap()
}

impl Stage {
    /// A vault under a key file, with one secret.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path(), Options::default()).unwrap();
        let store = Faulty::over(store);
        let audit = Audit::open(store.clone(), SigningKey::generate().unwrap());
        let audit = audit.await.unwrap();
        let key = MasterKey::load_or_create(dir.path().join("vault.key")).unwrap();
        let vault = Vault::open(store.clone(), audit.clone(), key);
        let vault = vault.await.unwrap();
        let stage = Self {
            dir,
            store,
            audit,
            vault,
        };
        assert_eq!(stage.set("first").await.unwrap(), 1);
        stage
    }

    async fn set(&self, value: &str) -> Result<u64, Error> {
        let audience = vec!["https://a.example".parse().unwrap()];
        let set = self
            .vault
            .set(&name(), &value.into(), audience, "op")
            .await?;
        Ok(set.version)
    }

    /// The vault as the next start finds it.
    async fn reopen(&self) -> Vault {
        let key = MasterKey::load_or_create(self.dir.path().join("vault.key")).unwrap();
        let opened = Vault::open(self.store.clone(), self.audit.clone(), key);
        opened.await.unwrap()
    }

    /// This vault and the next start's both have the secret, and find nothing changed.
    async fn holds(&self, value: &str) {
        for vault in [self.vault.clone(), self.reopen().await] {
            let secret = vault.open_secret(&name()).await.unwrap();
            assert_eq!(secret.expose(), value);
            assert_eq!(vault.verify().await.unwrap(), []);
        }
    }
}

/// Begins a change, drops its future once its commit is written, and lets the commit be answered.
macro_rules! leave {
    ($stage:expr, $table:expr, $change:expr) => {{
        let mut hold = $stage.store.hold_answer($table);
        let mut change = Box::pin($change);
        tokio::select! {
            biased;
            _ = &mut change => panic!("its commit is held"),
            () = hold.reached() => {}
        }
        drop(change);
    }};
}

#[tokio::test]
async fn a_rotation_whose_client_leaves_is_finished_and_can_be_repeated() {
    let stage = Stage::new().await;
    leave!(stage, META, stage.vault.rotate_master_key("op"));
    stage.vault.rotate_master_key("op").await.unwrap();
    stage.holds("first").await;
    assert_eq!(stage.set("second").await.unwrap(), 2);
    stage.holds("second").await;
}

#[tokio::test]
async fn a_rotation_that_landed_and_failed_loses_no_key() {
    // Whatever follows: the operator tries again, somebody sets a secret, or the host starts again.
    for next in ["rotate", "set", "anchor", "start"] {
        let stage = Stage::new().await;
        stage.store.land(META);
        let failed = stage.vault.rotate_master_key("op").await;
        assert!(matches!(failed, Err(Error::Write(_))), "{failed:?}");
        let mut value = "first";
        match next {
            "rotate" => drop(stage.vault.rotate_master_key("op").await.unwrap()),
            "set" => {
                value = "second";
                assert_eq!(stage.set(value).await.unwrap(), 2);
            }
            "anchor" => stage.vault.anchor().await.unwrap(),
            _ => {}
        }
        stage.holds(value).await;
        stage.vault.rotate_master_key("op").await.unwrap();
        stage.holds(value).await;
    }
}

#[tokio::test]
async fn a_rotation_that_was_not_written_changes_nothing() {
    let stage = Stage::new().await;
    stage.store.lose(META);
    assert!(stage.vault.rotate_master_key("op").await.is_err());
    stage.holds("first").await;
    stage.vault.rotate_master_key("op").await.unwrap();
    stage.holds("first").await;
}

#[tokio::test]
async fn a_vault_that_missed_a_rotation_touches_neither_rows_nor_keys() {
    let stage = Stage::new().await;
    let behind = stage.reopen().await;
    stage.store.land(META);
    // The new key waits beside the file; the one in the file opens nothing any more.
    assert!(stage.vault.rotate_master_key("op").await.is_err());
    let tampered = |error| assert!(matches!(error, Err(Error::Tampered { .. })), "{error:?}");
    tampered(behind.rotate_master_key("op").await.map(drop));
    tampered(behind.anchor().await);
    let audience = vec!["https://a.example".parse().unwrap()];
    let set = behind.set(&name(), &"other".into(), audience, "op").await;
    tampered(set.map(drop));
    tampered(behind.delete(&name(), "op").await);
    stage.holds("first").await;
}

#[tokio::test]
async fn a_secret_whose_client_leaves_is_the_one_in_use() {
    let stage = Stage::new().await;
    let (value, audience) = ("second".into(), vec!["https://a.example".parse().unwrap()]);
    let (vault, name) = (stage.vault.clone(), name());
    leave!(stage, SECRETS, vault.set(&name, &value, audience, "op"));
    stage.holds("second").await;
    assert_eq!(stage.set("third").await.unwrap(), 3);
    leave!(stage, SECRETS, vault.delete(&name, "op"));
    assert!(matches!(
        vault.open_secret(&name).await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(stage.set("fifth").await.unwrap(), 5);
    stage.holds("fifth").await;
}

#[tokio::test]
async fn a_secret_that_landed_and_failed_is_the_one_in_use_and_its_version_is_not_used_twice() {
    let stage = Stage::new().await;
    stage.store.land(SECRETS);
    assert!(stage.set("second").await.is_err());
    stage.holds("second").await;
    stage.store.lose(SECRETS);
    assert!(stage.set("never").await.is_err());
    stage.holds("second").await;
    assert_eq!(stage.set("third").await.unwrap(), 3);
    // Not even what became of it can be read at once.
    stage.store.land_unread(SECRETS);
    assert!(stage.set("fourth").await.is_err());
    stage.holds("fourth").await;
    stage.store.land(SECRETS);
    assert!(stage.vault.delete(&name(), "op").await.is_err());
    assert!(matches!(
        stage.vault.open_secret(&name()).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_secret_on_its_way_is_not_taken_for_a_changed_one() {
    let stage = Stage::new().await;
    let mut hold = stage.store.hold_answer(SECRETS);
    let (set, ()) = tokio::join!(stage.set("second"), async {
        hold.reached().await;
        let name = name();
        let mut open = Box::pin(stage.vault.open_secret(&name));
        // It waits for the change, or has opened what was there before.
        let early = at_once(&mut open).await;
        drop(hold);
        let secret = match early {
            Some(secret) => secret,
            None => open.await,
        };
        assert_eq!(secret.unwrap().expose(), "second");
    });
    assert_eq!(set.unwrap(), 2);
}

/// What a future has to say at once.
async fn at_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn a_recovery_copy_whose_renewal_landed_and_failed_is_worthless() {
    let stage = Stage::new().await;
    let first = stage.vault.recovery_copy(false, "op").await.unwrap();
    stage.store.land(META);
    assert!(stage.vault.recovery_copy(true, "op").await.is_err());
    assert_eq!(stage.set("second").await.unwrap(), 2);
    let restored = Vault::restore(
        stage.store.clone(),
        stage.audit.clone(),
        &first,
        MasterKey::from_bytes([1; 32]),
        "op",
    );
    assert!(matches!(restored.await, Err(Error::WrongRecoveryCopy)));
    stage.holds("second").await;
}

#[tokio::test]
async fn a_row_that_somebody_changed_is_still_found() {
    let stage = Stage::new().await;
    let old = stage
        .store
        .get(Table(SECRETS), b"a")
        .await
        .unwrap()
        .unwrap();
    stage.set("second").await.unwrap();
    let mut commit = Commit::new();
    commit.put(Table(SECRETS), "a", old);
    stage.store.commit(commit).await.unwrap();
    assert!(matches!(
        stage.vault.open_secret(&name()).await,
        Err(Error::Tampered { .. })
    ));
}
