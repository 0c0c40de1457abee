//! The vault through the real binary: its master key from every source, replaced, lost and restored,
//! and two operators at once.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::host::binary;
use nexus_tests::{Client, Host, HostBuilder};
use tonic::Code;

const PASSPHRASE: &str = "NEXUS_TEST_PASSPHRASE=correct horse battery staple";

async fn set(client: &mut Client, value: &str, etag: &str) -> Result<v1::Secret, tonic::Status> {
    let request = v1::SetSecretRequest {
        secret_id: "exchange-key".to_owned(),
        value: value.to_owned(),
        audience: vec!["https://api.example.com".to_owned()],
        etag: etag.to_owned(),
        ..v1::SetSecretRequest::default()
    };
    Ok(client.vault.set_secret(request).await?.into_inner())
}

/// The host has the one secret, and it is what was last recorded.
async fn is_whole(host: &Host) -> anyhow::Result<()> {
    let request = v1::ListSecretsRequest::default();
    let secrets = host.operator().await?.vault.list_secrets(request).await?;
    let secrets = secrets.into_inner().secrets;
    anyhow::ensure!(secrets.len() == 1 && !secrets[0].damaged, "{secrets:?}");
    Ok(())
}

/// Runs a command on a data directory, with this on its stdin.
fn nexus(arguments: &[&str], data: &Path, input: &str) -> anyhow::Result<Output> {
    let mut child = Command::new(binary())
        .args(arguments)
        .arg("--data")
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    // A command that does not read may be gone by now.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Ok(child.wait_with_output()?)
}

fn with_key(data: &Path, lines: &str) -> HostBuilder {
    Host::builder()
        .data(data)
        .config(&format!("[vault]\n{lines}"))
}

fn refused(start: anyhow::Result<Host>) -> anyhow::Result<String> {
    match start {
        Ok(_) => anyhow::bail!("the host started"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[tokio::test]
async fn t35_a_rotation_is_one_call_and_outlives_a_kill() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let mut host = Host::builder().data(&data).start()?;
    set(&mut host.operator().await?, "a value", "").await?;
    let file = data.join("vault.key");
    let mut keys = vec![std::fs::read(&file)?];
    for _ in 0..3 {
        let rotated = host.nexus(&["vault", "rotate"])?;
        assert!(rotated.status.success(), "{rotated:?}");
        keys.push(std::fs::read(&file)?);
        let mode = std::fs::metadata(&file)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        host = host.kill_and_restart()?;
        is_whole(&host).await?;
    }
    let events = v1::ListEventsRequest {
        page_size: 1000,
        ..v1::ListEventsRequest::default()
    };
    let mut client = host.operator().await?;
    let events = client.audit.list_events(events).await?.into_inner().events;
    let rotated = events
        .iter()
        .filter(|event| event.kind == "master_key_rotated");
    assert_eq!(rotated.count(), 3);
    host.stop()?;

    // An earlier key opens nothing any more, no key is made where one is missing, and one that others
    // can read is not read.
    for old in &keys[..3] {
        assert_ne!(old, &keys[3]);
        std::fs::write(&file, old)?;
        let error = refused(Host::builder().data(&data).start())?;
        assert!(error.contains("not the vault's master key"), "{error}");
    }
    std::fs::remove_file(&file)?;
    let error = refused(Host::builder().data(&data).start())?;
    assert!(
        error.contains("nexus vault restore") && !file.exists(),
        "{error}"
    );
    std::fs::write(&file, &keys[3])?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))?;
    let error = refused(Host::builder().data(&data).start())?;
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    is_whole(&Host::builder().data(&data).start()?).await
}

#[tokio::test]
async fn the_master_key_comes_from_where_the_configuration_says() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let variable = format!("NEXUS_TEST_KEY={}", "a7".repeat(32));
    let environment = r#"key = "env:NEXUS_TEST_KEY""#;
    let missing = refused(with_key(&data, environment).start())?;
    assert!(missing.contains("NEXUS_TEST_KEY"), "{missing}");
    let host = with_key(&data, environment)
        .through(&["env", &variable])
        .start()?;
    let mut client = host.operator().await?;
    set(&mut client, "a value", "").await?;
    let request = v1::RotateMasterKeyRequest {};
    let elsewhere = client.vault.rotate_master_key(request).await;
    let elsewhere = elsewhere.expect_err("the host can't replace it");
    assert_eq!(elsewhere.code(), Code::FailedPrecondition);
    assert_eq!(reason(&elsewhere), "MASTER_KEY_ELSEWHERE");
    assert!(!data.join("vault.key").exists());
    host.stop()?;

    // From the environment to a command, which gets no shell: what would be one is an argument.
    let key = "5c".repeat(32);
    let command = format!(r#"key = "command:printf %s {key}""#);
    let wrong = refused(with_key(&data, &command).start())?;
    assert!(wrong.contains("not the vault's master key"), "{wrong}");
    let change = format!("{command}\nprevious_{environment}");
    let host = with_key(&data, &change)
        .through(&["env", &variable])
        .start()?;
    is_whole(&host).await?;
    host.stop()?;
    let host = with_key(&data, &command).start()?;
    is_whole(&host).await?;
    host.stop()?;
    for (bad, said) in [
        (format!("command:echo {key}; id"), "none: 64 hexadecimal"),
        ("command:/nowhere/to/be/found".to_owned(), "failed to start"),
        ("command:false".to_owned(), "failed: exit status"),
        (
            "command:head -c 1000000 /dev/zero".to_owned(),
            "more than 4096",
        ),
        ("vault.key".to_owned(), "no source of a master key"),
    ] {
        let error = refused(with_key(&data, &format!("key = {bad:?}")).start())?;
        assert!(error.contains(said), "{bad}: {error}");
        assert!(!error.contains(&key), "{error}");
    }

    // On to a passphrase, which is asked for where there is a terminal only.
    let passphrase = r#"key = "passphrase:NEXUS_TEST_PASSPHRASE""#;
    let change = format!("{passphrase}\nprevious_{command}");
    let host = with_key(&data, &change)
        .through(&["env", PASSPHRASE])
        .start()?;
    let rotated = host.nexus(&["vault", "rotate"])?;
    assert!(rotated.status.success(), "{rotated:?}");
    host.stop()?;
    let wrong = ["env", "NEXUS_TEST_PASSPHRASE=correct horse battery stable"];
    let error = refused(with_key(&data, passphrase).through(&wrong).start())?;
    assert!(error.contains("not the vault's passphrase"), "{error}");
    let error = refused(with_key(&data, r#"key = "passphrase""#).start())?;
    assert!(error.contains("no terminal"), "{error}");
    let host = with_key(&data, passphrase)
        .through(&["env", PASSPHRASE])
        .start()?;
    is_whole(&host).await
}

#[tokio::test]
async fn a_lost_master_key_is_restored_by_the_recovery_copy() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).start()?;
    set(&mut host.operator().await?, "a value", "").await?;
    // The running host has the data directory to itself.
    assert!(!nexus(&["vault", "recovery"], &data, "")?.status.success());
    host.stop()?;
    // Where no host has run there is no vault to copy, and none is made.
    let other = directory.path().join("daat");
    let wrong = nexus(&["vault", "recovery"], &other, "")?;
    assert!(!wrong.status.success() && wrong.stdout.is_empty());
    let said = String::from_utf8(wrong.stderr)?;
    assert!(said.contains("daat") && said.contains("--data"), "{said}");
    assert!(!other.exists());
    let told = nexus(&["vault", "recovery"], &data, "")?;
    assert!(told.status.success(), "{told:?}");
    let copy = String::from_utf8(told.stdout)?;
    assert!(copy.starts_with("nexus-recovery-1 "), "it is all of stdout");
    let again = nexus(&["vault", "recovery"], &data, "")?;
    assert!(!again.status.success() && again.stdout.is_empty());
    assert!(String::from_utf8(again.stderr)?.contains("--renew"));

    let file = data.join("vault.key");
    let lost = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    for wrong in [
        "",
        "nexus-recovery-1 00",
        &copy.replace(&copy[17..19], "0x"),
    ] {
        let refused = nexus(&["vault", "restore"], &data, wrong)?;
        assert!(!refused.status.success(), "{wrong}: {refused:?}");
    }
    let stranger = copy.replace(&copy[17..25], "00000000");
    let refused = nexus(&["vault", "restore"], &data, &stranger)?;
    assert!(String::from_utf8(refused.stderr)?.contains("not the one of this vault"));
    let restored = nexus(&["vault", "restore"], &data, &copy)?;
    assert!(restored.status.success(), "{restored:?}");
    assert_ne!(std::fs::read(&file)?, lost);
    is_whole(&Host::builder().data(&data).start()?).await
}

#[tokio::test]
async fn of_two_writers_with_one_etag_one_is_told_that_it_is_late() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let mut current = set(&mut client, "the first value", "").await?;
    for round in 0..nexus_tests::amount(20, 500) {
        let writers = (0..8).map(|writer| {
            let (host, etag) = (host.operator(), current.etag.clone());
            async move {
                let mut client = host.await?;
                let value = format!("value {writer} of round {round}");
                anyhow::Ok(set(&mut client, &value, &etag).await)
            }
        });
        let results = futures::future::try_join_all(writers).await?;
        let (won, late): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), late.len()), (1, 7));
        for late in late {
            let late = late.expect_err("partitioned");
            assert_eq!(
                (late.code(), reason(&late)),
                (Code::Aborted, "STALE_ETAG".to_owned())
            );
        }
        let won = won.into_iter().next().context("one")??;
        assert_eq!(won.version, current.version + 1);
        current = won;
    }
    // One that deletes and one that sets, with the same etag: again one of them.
    let delete = v1::DeleteSecretRequest {
        name: current.name.clone(),
        etag: current.etag.clone(),
    };
    let mut other = host.operator().await?;
    let (deleted, replaced) = tokio::join!(
        client.vault.delete_secret(delete),
        set(&mut other, "a value", &current.etag)
    );
    assert!(
        deleted.is_ok() != replaced.is_ok(),
        "{deleted:?} {replaced:?}"
    );
    Ok(())
}

#[tokio::test]
async fn t35_the_process_leaves_no_core() -> anyhow::Result<()> {
    let host = Host::start()?;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.pid()))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .context("the limit of core files")?;
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(&words[4..6], ["0", "0"], "{core}");
    Ok(())
}
