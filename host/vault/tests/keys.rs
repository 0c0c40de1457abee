//! Where the master key comes from, and how it is replaced and restored.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::Arc;

use nexus_audit::{Audit, EventKind, SigningKey};
use nexus_store::{Options, RedbStore, Scan, Store, Table};
use nexus_vault::{Error, ExposeSecret as _, MasterKey, RecoveryCopy, SecretString, Vault};

const PASSPHRASE: &str = "correct horse battery staple";

struct Stage {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    audit: Audit,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = RedbStore::open(dir.path(), Options::default()).unwrap();
        let audit = Audit::open(store.clone(), SigningKey::generate().unwrap())
            .await
            .unwrap();
        Self { dir, store, audit }
    }

    async fn open(&self, master: MasterKey) -> Result<Vault, Error> {
        Vault::open(self.store.clone(), self.audit.clone(), master).await
    }

    async fn change(&self, master: MasterKey, previous: MasterKey) -> Result<Vault, Error> {
        let (store, audit) = (self.store.clone(), self.audit.clone());
        Vault::open_or_change(store, audit, master, Some(previous)).await
    }

    async fn restore(&self, copy: &RecoveryCopy, master: MasterKey) -> Result<Vault, Error> {
        let (store, audit) = (self.store.clone(), self.audit.clone());
        Vault::restore(store, audit, copy, master, "op").await
    }

    fn file(&self, name: &str) -> MasterKey {
        MasterKey::load_or_create(self.dir.path().join(name)).unwrap()
    }
}

fn passphrase(text: &str) -> MasterKey {
    MasterKey::from_passphrase(text.into())
}

async fn set(vault: &Vault) {
    let audience = vec!["https://a.example".parse().unwrap()];
    vault
        .set(&"a".parse().unwrap(), &"the value".into(), audience, "op")
        .await
        .unwrap();
}

#[track_caller]
fn opens(vault: &Vault) -> impl Future<Output = ()> {
    let vault = vault.clone();
    async move {
        let secret = vault.open_secret(&"a".parse().unwrap()).await.unwrap();
        assert_eq!(secret.expose(), "the value");
        assert_eq!(vault.verify().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_passphrase_opens_the_vault_it_made_and_no_other_does() {
    let stage = Stage::new().await;
    assert!(matches!(
        stage.open(passphrase("too short")).await,
        Err(Error::ShortPassphrase)
    ));
    let vault = stage.open(passphrase(PASSPHRASE)).await.unwrap();
    set(&vault).await;
    opens(&stage.open(passphrase(PASSPHRASE)).await.unwrap()).await;
    for wrong in [
        "correct horse battery stapler",
        "",
        "CORRECT HORSE BATTERY STAPLE",
    ] {
        assert!(matches!(
            stage.open(passphrase(wrong)).await,
            Err(Error::WrongPassphrase)
        ));
    }
    assert!(matches!(
        stage.open(MasterKey::from_bytes([1; 32])).await,
        Err(Error::WrongMasterKey { .. })
    ));
    // The parameters are in the vault's own row; the passphrase is nowhere.
    let rows = stage.store.scan(Table("vault_meta"), Scan::default()).await;
    let text = format!(
        "{:?}",
        rows.unwrap()
            .into_iter()
            .map(|(_, row)| String::from_utf8_lossy(&row).into_owned())
            .collect::<Vec<_>>()
    );
    assert!(
        text.contains("argon2id") && text.contains("memory_kib"),
        "{text}"
    );
    assert!(!text.contains(PASSPHRASE));

    // A rotation changes the key, by another salt, and not the passphrase.
    let before = vault.rotate_master_key("op").await.unwrap();
    assert_ne!(before, vault.rotate_master_key("op").await.unwrap());
    opens(&stage.open(passphrase(PASSPHRASE)).await.unwrap()).await;
}

#[tokio::test]
async fn a_key_can_be_changed_for_one_from_another_place() {
    let stage = Stage::new().await;
    let given = || MasterKey::from_text(&"a7".repeat(32).into()).unwrap();
    let vault = stage.open(stage.file("vault.key")).await.unwrap();
    set(&vault).await;
    // From a file to a key from elsewhere, to a passphrase, to another passphrase, to another file.
    opens(
        &stage
            .change(given(), stage.file("vault.key"))
            .await
            .unwrap(),
    )
    .await;
    opens(&stage.open(given()).await.unwrap()).await;
    assert!(matches!(
        stage.open(stage.file("vault.key")).await,
        Err(Error::WrongMasterKey { .. })
    ));
    assert!(matches!(
        stage
            .open(given())
            .await
            .unwrap()
            .rotate_master_key("op")
            .await,
        Err(Error::KeyElsewhere)
    ));
    opens(&stage.change(passphrase(PASSPHRASE), given()).await.unwrap()).await;
    let other = "another passphrase";
    opens(
        &stage
            .change(passphrase(other), passphrase(PASSPHRASE))
            .await
            .unwrap(),
    )
    .await;
    // Once changed, the previous key does no harm.
    opens(
        &stage
            .change(passphrase(other), passphrase(PASSPHRASE))
            .await
            .unwrap(),
    )
    .await;
    opens(
        &stage
            .change(stage.file("new.key"), passphrase(other))
            .await
            .unwrap(),
    )
    .await;
    opens(&stage.open(stage.file("new.key")).await.unwrap()).await;
    // A previous key that is none of this vault's changes nothing.
    assert!(stage.change(given(), passphrase(PASSPHRASE)).await.is_err());
    opens(&stage.open(stage.file("new.key")).await.unwrap()).await;
}

#[tokio::test]
async fn the_recovery_copy_is_told_once_and_restores_a_vault_without_its_key() {
    let stage = Stage::new().await;
    let vault = stage.open(stage.file("vault.key")).await.unwrap();
    set(&vault).await;
    assert!(!vault.recovery_told());
    let copy = vault.recovery_copy(false, "op").await.unwrap();
    assert!(vault.recovery_told());
    assert!(matches!(
        vault.recovery_copy(false, "op").await,
        Err(Error::RecoveryTold)
    ));
    let text = copy.text();
    assert!(!format!("{copy:?}").contains(&text.expose_secret()[17..25]));
    // It outlives rotations.
    vault.rotate_master_key("op").await.unwrap();

    // The key is lost. What a person typed, in capitals and with other spaces, restores it.
    std::fs::remove_file(stage.dir.path().join("vault.key")).unwrap();
    assert!(MasterKey::load(stage.dir.path().join("vault.key")).is_err());
    let (prefix, digits) = text.expose_secret().split_once(' ').unwrap();
    let typed = format!(" {prefix}  {} \n", digits.to_uppercase().replace('-', " "));
    let copy = RecoveryCopy::parse(&typed.into()).unwrap();
    opens(&stage.restore(&copy, stage.file("vault.key")).await.unwrap()).await;
    opens(&stage.open(stage.file("vault.key")).await.unwrap()).await;
    // And once more, into a passphrase: it is still good.
    opens(&stage.restore(&copy, passphrase(PASSPHRASE)).await.unwrap()).await;
    let vault = stage.open(passphrase(PASSPHRASE)).await.unwrap();

    // A new copy makes the old one worthless.
    let renewed = vault.recovery_copy(true, "op").await.unwrap();
    assert!(matches!(
        stage.restore(&copy, stage.file("vault.key")).await,
        Err(Error::WrongRecoveryCopy)
    ));
    opens(
        &stage
            .restore(&renewed, stage.file("vault.key"))
            .await
            .unwrap(),
    )
    .await;
    for bad in [
        "",
        "nexus-recovery-1",
        "nexus-recovery-1 00",
        "nexus-recovery-2 00",
    ] {
        assert!(matches!(
            RecoveryCopy::parse(&SecretString::from(bad)),
            Err(Error::NotARecoveryCopy)
        ));
    }
    let events = stage.audit.events(1, 100).await.unwrap();
    let told = events
        .iter()
        .filter(|record| record.event.kind == EventKind::RecoveryCopied)
        .count();
    assert_eq!(told, 2);
    let trail = format!("{events:?}");
    for copy in [text, renewed.text()] {
        assert!(!trail.contains(&copy.expose_secret()[17..25]));
    }
}

#[tokio::test]
async fn another_vault_s_recovery_copy_restores_nothing() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    let vault = stage.open(stage.file("vault.key")).await.unwrap();
    set(&vault).await;
    assert!(matches!(
        other
            .restore(
                &vault.recovery_copy(false, "op").await.unwrap(),
                other.file("vault.key")
            )
            .await,
        Err(Error::NoVault)
    ));
    let stranger = other.open(other.file("vault.key")).await.unwrap();
    let copy = stranger.recovery_copy(false, "op").await.unwrap();
    assert!(matches!(
        stage.restore(&copy, stage.file("other.key")).await,
        Err(Error::WrongRecoveryCopy)
    ));
    opens(&stage.open(stage.file("vault.key")).await.unwrap()).await;
}
