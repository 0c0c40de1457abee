//! T35: a process that dies at any step of a rotation leaves a vault that exactly one key opens.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use nexus_audit::{Audit, SigningKey};
use nexus_store::{Options, RedbStore, Store};

use crate::error::Error;
use crate::{MasterKey, Vault};

const DIRECTORY: &str = "NEXUS_VAULT_CRASH_DIRECTORY";
const STEP: &str = "NEXUS_VAULT_CRASH_STEP";
const ENTRIES: usize = 8;

async fn open(dir: &Path, master: MasterKey) -> Result<Vault, Error> {
    let store: Arc<dyn Store> = RedbStore::open(dir, Options::default()).unwrap();
    let key = SigningKey::load_or_create(dir.join("audit.key")).unwrap();
    let audit = Audit::open(store.clone(), key).await.unwrap();
    Vault::open(store, audit, master).await
}

fn master(dir: &Path, kind: &str) -> MasterKey {
    match kind {
        "file" => MasterKey::load_or_create(dir.join("vault.key")).unwrap(),
        _ => MasterKey::from_passphrase("correct horse battery".into()),
    }
}

/// The steps of a rotation, in the order in which they were told.
async fn steps(kind: &str) -> Vec<&'static str> {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path(), master(dir.path(), kind)).await.unwrap();
    let steps = Mutex::new(Vec::new());
    vault
        .rotate("op", &|step| steps.lock().unwrap().push(step))
        .await
        .unwrap();
    steps.into_inner().unwrap()
}

/// Not a test of its own: the process that dies. Without being told where, it has nothing to do.
#[tokio::test]
async fn dies_at_the_step_that_it_is_told() {
    let (Some(dir), Ok(at)) = (std::env::var_os(DIRECTORY), std::env::var(STEP)) else {
        return;
    };
    let (kind, at) = at.split_once('/').unwrap();
    let dir = Path::new(&dir);
    let vault = open(dir, master(dir, kind)).await.unwrap();
    // No destructor runs and no buffer is written, as under kill -9.
    let die = |step: &'static str| {
        if step == at {
            std::process::abort();
        }
    };
    vault.rotate("op", &die).await.unwrap();
}

async fn survives(kind: &str) {
    let steps = steps(kind).await;
    assert!(steps.len() >= 3, "{steps:?}");
    let mut ids = Vec::new();
    for step in &steps {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vault.key");
        let vault = open(dir.path(), master(dir.path(), kind)).await.unwrap();
        for n in 0..ENTRIES {
            let audience = vec!["https://a.example".parse().unwrap()];
            let (name, value) = (format!("s{n}"), format!("value {n}"));
            vault
                .set(&name.parse().unwrap(), &value.into(), audience, "op")
                .await
                .unwrap();
        }
        vault.delete(&"s0".parse().unwrap(), "op").await.unwrap();
        let sealed = vault.seal("x", b"at rest").unwrap();
        let before = vault.current().meta.key_id.clone();
        let old = std::fs::read_to_string(&file).ok();
        drop(vault);

        let status = Command::new(std::env::current_exe().unwrap())
            .args(["crash::dies_at_the_step_that_it_is_told", "--exact"])
            .env(DIRECTORY, dir.path())
            .env(STEP, format!("{kind}/{step}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(6), "{step}: {status}");

        // Twice: what the first start mends, the second finds in order.
        for start in 1..=2 {
            let vault = open(dir.path(), master(dir.path(), kind)).await.unwrap();
            for n in 1..ENTRIES {
                let secret = vault.open_secret(&format!("s{n}").parse().unwrap()).await;
                assert_eq!(
                    secret.unwrap().expose(),
                    format!("value {n}"),
                    "{step} {start}"
                );
            }
            assert_eq!(vault.unseal("x", &sealed).unwrap().as_slice(), b"at rest");
            assert_eq!(vault.verify().await.unwrap(), [], "{step} {start}");
            ids.push(vault.current().meta.key_id.clone() == before);
            let keys = std::fs::read_dir(dir.path())
                .unwrap()
                .filter(|entry| {
                    let name = entry.as_ref().unwrap().file_name();
                    name.to_string_lossy().starts_with("vault.key")
                })
                .count();
            assert_eq!(keys, usize::from(kind == "file"), "{step}: one key is left");
        }
        // And no other key opens it: neither the one before, if it was replaced, nor a stranger's.
        let kept = ids.last().copied().unwrap();
        let strangers = [Some("00".repeat(32)), old.filter(|_| !kept)];
        for stranger in strangers.into_iter().flatten() {
            let stranger = MasterKey::from_text(&stranger.into()).unwrap();
            assert!(matches!(
                open(dir.path(), stranger).await,
                Err(Error::WrongMasterKey { .. })
            ));
        }
    }
    assert!(ids.contains(&true) && ids.contains(&false), "{ids:?}");
}

#[tokio::test]
async fn t35_a_rotation_of_a_key_file_survives_a_death_at_every_step() {
    survives("file").await;
}

#[tokio::test]
async fn t35_a_rotation_under_a_passphrase_survives_a_death_at_every_step() {
    survives("passphrase").await;
}
