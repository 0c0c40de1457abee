//! The vault over a real store: what it keeps, and what it refuses once somebody touched its rows.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::Arc;

use nexus_audit::{Audit, EventKind, SigningKey};
use nexus_store::{Commit, Options, RedbStore, Scan, Store, Table};
use nexus_vault::{Error, Fault, MasterKey, SecretName, SecretString, Vault};

const SECRETS: Table = Table("vault_secrets");
const CANARY: &str = "canary-7f3a-value";

struct Host {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    audit: Audit,
    vault: Vault,
}

async fn host() -> Host {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = RedbStore::open(dir.path(), Options::default()).unwrap();
    let audit = Audit::open(store.clone(), SigningKey::generate().unwrap())
        .await
        .unwrap();
    let key = MasterKey::load_or_create(dir.path().join("master.key")).unwrap();
    let vault = Vault::open(store.clone(), audit.clone(), key)
        .await
        .unwrap();
    Host {
        dir,
        store,
        audit,
        vault,
    }
}

impl Host {
    async fn reopen(&self) -> Result<Vault, Error> {
        let key = MasterKey::load_or_create(self.dir.path().join("master.key")).unwrap();
        Vault::open(self.store.clone(), self.audit.clone(), key).await
    }

    async fn set(&self, text: &str, value: &str) -> u64 {
        let audience = vec!["https://api.example.com".parse().unwrap()];
        self.vault
            .set(&name(text), &value.into(), audience, "op")
            .await
            .unwrap()
            .version
    }

    async fn row(&self, text: &str) -> Vec<u8> {
        self.store
            .get(SECRETS, text.as_bytes())
            .await
            .unwrap()
            .unwrap()
    }

    async fn put_row(&self, text: &str, row: Vec<u8>) {
        let mut commit = Commit::new();
        commit.put(SECRETS, text, row);
        self.store.commit(commit).await.unwrap();
    }
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_secret_is_kept_and_its_value_shows_nowhere() {
    let host = host().await;
    assert_eq!(host.set("exchange-key", CANARY).await, 1);
    let secret = host
        .reopen()
        .await
        .unwrap()
        .open_secret(&name("exchange-key"))
        .await
        .unwrap();
    assert_eq!(secret.expose(), CANARY);
    assert!(secret.allows(&"https://api.example.com".parse().unwrap()));
    for other in [
        "https://api.example.com:8443",
        "https://example.com",
        "http://api.example.com",
    ] {
        assert!(!secret.allows(&other.parse().unwrap()), "{other}");
    }
    let mut shown = format!(
        "{secret:?} {:?} {:?}",
        host.vault,
        host.vault.list().await.unwrap()
    );
    for record in host.audit.events(1, 100).await.unwrap() {
        shown.push_str(&format!("{record:?}"));
    }
    for (_, row) in host.store.scan(SECRETS, Scan::default()).await.unwrap() {
        shown.push_str(&String::from_utf8_lossy(&row));
    }
    assert!(shown.contains("exchange-key") && !shown.contains(CANARY));
}

#[tokio::test]
async fn every_change_is_recorded_and_versions_are_not_used_again() {
    let host = host().await;
    assert_eq!(host.set("a", CANARY).await, 1);
    assert_eq!(host.set("a", "other").await, 2);
    host.vault.delete(&name("a"), "op").await.unwrap();
    assert!(matches!(
        host.vault.open_secret(&name("a")).await,
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        host.vault.delete(&name("a"), "op").await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(host.vault.list().await.unwrap(), []);
    assert_eq!(host.set("a", "third").await, 4);
    let events = host.audit.events(1, 100).await.unwrap();
    let kinds: Vec<_> = events
        .iter()
        .filter(|record| record.event.principal.as_deref() == Some("op"))
        .map(|record| {
            (
                record.event.kind,
                record.event.detail["version"].as_u64().unwrap(),
            )
        })
        .collect();
    let set = EventKind::SecretSet;
    assert_eq!(
        kinds,
        [(set, 1), (set, 2), (EventKind::SecretDeleted, 3), (set, 4)]
    );
    assert_eq!(host.vault.verify().await.unwrap(), []);
}

#[tokio::test]
async fn plain_http_empty_values_and_empty_audiences_are_refused() {
    let host = host().await;
    let https = vec!["https://a.example".parse().unwrap()];
    let both = vec![
        "https://a.example".parse().unwrap(),
        "http://b.example".parse().unwrap(),
    ];
    let value: SecretString = CANARY.into();
    let refused = host
        .vault
        .set(&name("a"), &value, both, "op")
        .await
        .unwrap_err();
    assert!(matches!(&refused, Error::NotHttps(origin) if origin.as_str() == "http://b.example"));
    assert!(!format!("{refused} {refused:?}").contains(CANARY));
    assert!(matches!(
        host.vault.set(&name("a"), &value, vec![], "op").await,
        Err(Error::NoAudience)
    ));
    for length in [0, 64 * 1024 + 1] {
        let value = "x".repeat(length).into();
        let refused = host
            .vault
            .set(&name("a"), &value, https.clone(), "op")
            .await;
        assert!(matches!(refused, Err(Error::Length { .. })));
    }
    for bad in [
        "",
        "A",
        "1a",
        "-a",
        "a_b",
        "a.b",
        "a/b",
        "a\0",
        &"a".repeat(64),
    ] {
        assert!(bad.parse::<SecretName>().is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn exchanged_rows_do_not_open() {
    let host = host().await;
    host.set("a", "value of a").await;
    host.set("b", "value of b").await;
    let (a, b) = (host.row("a").await, host.row("b").await);
    host.put_row("a", b.clone()).await;
    host.put_row("b", a).await;
    for text in ["a", "b"] {
        assert!(matches!(
            host.vault.open_secret(&name(text)).await,
            Err(Error::Tampered { .. })
        ));
    }
    // Nor do their parts: a's row with b's sealed value, b's data key, or both.
    let (a, b): (serde_json::Value, serde_json::Value) = (
        serde_json::from_slice(&host.row("b").await).unwrap(),
        serde_json::from_slice(&b).unwrap(),
    );
    for fields in [&["value"][..], &["data_key"], &["value", "data_key"]] {
        let mut mixed = a.clone();
        for field in fields {
            mixed["sealed"][field] = b["sealed"][field].clone();
        }
        host.put_row("a", mixed.to_string().into_bytes()).await;
        assert!(matches!(
            host.vault.open_secret(&name("a")).await,
            Err(Error::Tampered { .. })
        ));
    }
    host.put_row("a", a.to_string().into_bytes()).await;
    assert_eq!(
        host.vault.open_secret(&name("a")).await.unwrap().expose(),
        "value of a"
    );
}

#[tokio::test]
async fn every_changed_field_and_byte_is_found() {
    let host = host().await;
    host.set("a", CANARY).await;
    let row = host.row("a").await;
    let text = String::from_utf8(row.clone()).unwrap();
    for (from, to) in [
        ("api.example.com", "api.example.net"),
        ("[\"https", "[\"https://evil.example\",\"https"),
        ("\"version\":1", "\"version\":2"),
        ("\"updated_ms\":1", "\"updated_ms\":2"),
        ("\"key_id\":\"", "\"key_id\":\"0"),
    ] {
        assert!(text.contains(from), "{from}");
        host.put_row("a", text.replacen(from, to, 1).into_bytes())
            .await;
        let fresh = host.reopen().await.unwrap();
        assert!(
            matches!(
                fresh.open_secret(&name("a")).await,
                Err(Error::Tampered { .. })
            ),
            "{to}"
        );
    }
    let mut changed = 0;
    // One bit of each byte: every row here is a durable commit. The cipher's own test flips all.
    for byte in 0..row.len() {
        let mut bad = row.clone();
        bad[byte] ^= 1 << (byte % 8);
        host.put_row("a", bad).await;
        let fresh = host.reopen().await.unwrap();
        // The case of a letter in an origin is the one thing that changes nothing.
        let opened = fresh.open_secret(&name("a")).await;
        let same = |secret: &nexus_vault::Secret| {
            secret.audience()[0].as_str() == "https://api.example.com"
        };
        assert!(opened.as_ref().map_or(true, same), "byte {byte}");
        changed += usize::from(opened.is_err());
    }
    assert!(changed >= row.len() - "https://api.example.com".len());
}

#[tokio::test]
async fn an_old_row_that_is_put_back_is_found() {
    let host = host().await;
    host.set("a", "old").await;
    let old = host.row("a").await;
    host.set("a", "new").await;
    host.put_row("a", old.clone()).await;
    // A host that is running finds it, and so does one that starts afterwards, by the audit.
    let fresh = host.reopen().await.unwrap();
    for vault in [&host.vault, &fresh] {
        assert!(matches!(
            vault.open_secret(&name("a")).await,
            Err(Error::Tampered { .. })
        ));
        let list = vault.list().await.unwrap();
        assert!(list[0].damaged && list[0].audience.is_empty(), "{list:?}");
    }
    let fault = Fault::Version {
        name: "a".to_owned(),
        recorded: 2,
        found: Some(1),
    };
    assert_eq!(fresh.verify().await.unwrap(), [fault]);
    let mut commit = Commit::new();
    commit.delete(SECRETS, "a").put(SECRETS, "b", old);
    host.store.commit(commit).await.unwrap();
    let fresh = host.reopen().await.unwrap();
    assert_eq!(
        fresh.verify().await.unwrap(),
        [
            Fault::Unrecorded {
                name: "b".to_owned()
            },
            Fault::Version {
                name: "a".to_owned(),
                recorded: 2,
                found: None
            },
        ]
    );
    for gone in ["a", "b"] {
        assert!(matches!(
            fresh.open_secret(&name(gone)).await,
            Err(Error::Tampered { .. })
        ));
    }
    // Setting it anew mends it, under a version that was never used.
    let audience = vec!["https://api.example.com".parse().unwrap()];
    let set = fresh
        .set(&name("a"), &"third".into(), audience, "op")
        .await
        .unwrap();
    assert_eq!(set.version, 3);
    let again = host.reopen().await.unwrap();
    assert_eq!(
        again.open_secret(&name("a")).await.unwrap().expose(),
        "third"
    );
}

#[tokio::test]
async fn another_master_key_is_refused_before_anything_is_read() {
    let host = host().await;
    host.set("a", CANARY).await;
    let refused = Vault::open(
        host.store.clone(),
        host.audit.clone(),
        MasterKey::from_bytes([7; 32]),
    )
    .await;
    let Err(Error::WrongMasterKey { expected, found }) = refused else {
        panic!("{refused:?}")
    };
    assert_ne!(expected, found);
    assert_eq!(found, MasterKey::from_bytes([7; 32]).id());
}

#[tokio::test]
async fn the_master_key_can_be_replaced_at_any_moment() {
    let host = host().await;
    let file = host.dir.path().join("master.key");
    host.set("a", CANARY).await;
    let sealed = host.vault.seal("approval/1", b"payload").unwrap();
    let before = std::fs::read(&file).unwrap();
    let id = host.vault.rotate_master_key("op").await.unwrap();
    let after = std::fs::read(&file).unwrap();
    assert_ne!(before, after);
    assert_eq!(MasterKey::load_or_create(&file).unwrap().id(), id);
    host.set("b", "after").await;
    let fresh = host.reopen().await.unwrap();
    assert_eq!(
        fresh.open_secret(&name("a")).await.unwrap().expose(),
        CANARY
    );
    assert_eq!(
        fresh.open_secret(&name("b")).await.unwrap().expose(),
        "after"
    );
    assert_eq!(
        fresh.unseal("approval/1", &sealed).unwrap().as_slice(),
        b"payload"
    );
    assert_eq!(fresh.verify().await.unwrap(), []);

    // The host died after the commit: the new key still waits beside the old one.
    let next = host.dir.path().join("master.key.next");
    std::fs::rename(&file, &next).unwrap();
    write_private(&file, &before);
    let fresh = host.reopen().await.unwrap();
    assert_eq!(
        fresh.open_secret(&name("a")).await.unwrap().expose(),
        CANARY
    );
    assert!(!next.exists() && std::fs::read(&file).unwrap() == after);

    // The host died before the commit: the waiting key was never used.
    write_private(&next, &before);
    host.reopen().await.unwrap();
    assert!(!next.exists() && std::fs::read(&file).unwrap() == after);
}

#[tokio::test]
async fn sealed_data_opens_under_its_context_only() {
    let host = host().await;
    let sealed = host.vault.seal("approval/1", CANARY.as_bytes()).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains(CANARY));
    assert!(host.vault.unseal("approval/2", &sealed).is_err());
    let other = self::host().await;
    assert!(other.vault.unseal("approval/1", &sealed).is_err());
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(host.vault.unseal("approval/1", &bad).is_err());
    }
    assert!(host.vault.unseal("approval/1", b"").is_err());
    assert_eq!(
        host.reopen()
            .await
            .unwrap()
            .unseal("approval/1", &sealed)
            .unwrap()
            .as_slice(),
        CANARY.as_bytes()
    );
}

#[tokio::test]
async fn changes_at_once_each_get_a_version() {
    let host = host().await;
    let mut versions = Vec::new();
    let setting = (0..20).map(|n| {
        let vault = host.vault.clone();
        tokio::spawn(async move {
            let audience = vec!["https://a.example".parse().unwrap()];
            vault
                .set(&name("a"), &format!("value {n}").into(), audience, "op")
                .await
                .unwrap()
                .version
        })
    });
    for task in setting.collect::<Vec<_>>() {
        versions.push(task.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=20).collect::<Vec<_>>());
}

fn write_private(path: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
