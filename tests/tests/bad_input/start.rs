//! Hosts that can't start: each says why, names the file, and ends with an exit code.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use nexus_tests::{Host, guests, host::binary};
use serde_json::json;

use super::still_answers;

/// Starts a host that has to fail, and returns what it said.
fn refused(data: &Path, config: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let file = data.with_extension("toml");
    std::fs::write(&file, config)?;
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(binary())
        .args(["serve", "--data"])
        .arg(data)
        .arg("--config")
        .arg(&file)
        .args(arguments)
        .env("RUST_LIB_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(stderr)?;
    anyhow::ensure!(!status.success(), "it started: {said}");
    anyhow::ensure!(
        status.code().is_some(),
        "it was killed by a signal: {status} {said}"
    );
    anyhow::ensure!(stdout.is_empty(), "it said it would listen");
    anyhow::ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}

const LISTEN: &[&str] = &["--listen", "127.0.0.1:0"];

#[test]
fn a_configuration_with_an_unknown_key_is_refused() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    for (config, word) in [
        ("[server]\nlisten_on = \"127.0.0.1:1\"\n", "listen_on"),
        ("[servers]\n", "servers"),
        ("[egress]\nprivate_origins = [\"localhost\"]\n", "localhost"),
        ("[runtime]\ncpu_ms = \"soon\"\n", "cpu_ms"),
        ("[server\n", "line 1"),
    ] {
        let said = refused(&data, config, LISTEN)?;
        assert!(said.contains(word), "no {word:?} in {said}");
        assert!(
            said.contains("data.toml") && said.contains("--print-config"),
            "{said}"
        );
        assert!(
            !data.exists(),
            "nothing is made before the configuration is read"
        );
    }
    Ok(())
}

#[test]
fn a_listener_beyond_this_machine_needs_tls_or_a_word() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7420"] {
        let said = refused(&data, "", &["--listen", address])?;
        assert!(said.contains("not a loopback address"), "{said}");
        assert!(
            said.contains("TLS") && said.contains("allow_plaintext"),
            "{said}"
        );
    }
    assert!(!data.exists());
    Ok(())
}

#[test]
fn a_policy_that_can_not_be_evaluated_stops_the_start() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let policy = directory.path().join("policy.cedar");
    std::fs::write(
        &policy,
        "permit (principal, action, resource) when { resource.colour };",
    )?;
    let config = format!("[approvals]\npolicy = {:?}\n", policy.to_string_lossy());
    let said = refused(&directory.path().join("data"), &config, LISTEN)?;
    assert!(said.contains("policy.cedar"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_port_and_a_data_directory_have_one_host() -> anyhow::Result<()> {
    let (host, mut client) = super::host().await?;
    let directory = tempfile::tempdir()?;
    let address = host.endpoint.strip_prefix("http://").unwrap();
    let said = refused(&directory.path().join("data"), "", &["--listen", address])?;
    assert!(
        said.contains(address) && said.contains("--listen"),
        "{said}"
    );
    let said = refused(&host.data, "", LISTEN)?;
    assert!(
        said.contains("in use") && said.contains(&*host.data.to_string_lossy()),
        "{said}"
    );
    still_answers(&mut client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_named_and_left_as_it_is() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).start()?;
    host.operator()
        .await?
        .deploy(&guests::component("echo"))
        .await?;
    host.stop()?;
    let store = data.join("store.redb");
    let whole = std::fs::read(&store)?;
    let flipped = |places: &mut dyn Iterator<Item = usize>| {
        let mut damaged = whole.clone();
        places.for_each(|place| damaged[place] ^= 0xff);
        damaged
    };
    let middle = whole.len() / 2;
    let damages = [
        ("an empty file", Vec::new()),
        ("another file", b"SQLite format 3\0".repeat(4_096)),
        ("a flipped first byte", flipped(&mut (0..1))),
        ("a flipped head", flipped(&mut (0..512))),
        ("half a file", whole[..middle].to_vec()),
        (
            "a flipped byte in every 64",
            flipped(&mut (0..whole.len()).step_by(64)),
        ),
        ("zeros", vec![0; whole.len()]),
    ];
    for (what, damaged) in damages {
        std::fs::write(&store, &damaged)?;
        let said = refused(&data, "", LISTEN).map_err(|error| error.context(what))?;
        assert!(said.contains("store.redb"), "{what}: {said}");
        assert!(
            said.contains("damaged") && said.contains("backup"),
            "{what}: {said}"
        );
        assert!(
            std::fs::read(&store)? == damaged,
            "{what}: the file was changed"
        );
    }
    // Nothing else of the directory has suffered: with the file back, everything is back.
    std::fs::write(&store, &whole)?;
    let host = Host::builder().data(&data).start()?;
    let output = host.operator().await?.output("echo", &json!(1)).await?;
    assert_eq!(output, json!(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_keys_are_named_and_not_replaced() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    Host::builder().data(&data).start()?.stop()?;
    for name in ["audit.key", "vault.key"] {
        let key = data.join(name);
        let whole = std::fs::read(&key)?;
        std::fs::write(&key, &whole[..whole.len() / 2])?;
        let said = refused(&data, "", LISTEN)?;
        assert!(said.contains(name), "{name}: {said}");
        assert_eq!(
            std::fs::read(&key)?,
            &whole[..whole.len() / 2],
            "{name} was replaced"
        );
        std::fs::write(&key, &whole)?;
    }
    Host::builder().data(&data).start()?;
    Ok(())
}
