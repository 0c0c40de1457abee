//! A client in Python that takes the contract from the host by reflection.
//!
//! It needs `python3`, and the two packages of `tests/python/requirements.txt`, which `pip` puts into
//! the target directory the first time. Without them this test fails and says so; whoever can't have
//! them sets `NEXUS_TEST_WITHOUT_PYTHON`.
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has nothing better to do"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nexus_tests::guests::root;
use nexus_tests::origin::Origin;
use nexus_tests::{Host, probe};
use serde_json::{Value, json};

/// The packages, in a directory that is there as a whole or not at all.
fn packages() -> anyhow::Result<PathBuf> {
    let requirements = root().join("tests/python/requirements.txt");
    let key = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(std::fs::read(
        &requirements,
    )?));
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ready = parent.join(format!("python-{}", &key[..16]));
    if ready.is_dir() {
        return Ok(ready);
    }
    std::fs::create_dir_all(parent)?;
    let stage = tempfile::tempdir_in(parent)?;
    let site = stage.path().join("site");
    let install = |python: &Path| -> anyhow::Result<()> {
        let installed = Command::new(python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
                "--target",
            ])
            .arg(&site)
            .arg("-r")
            .arg(&requirements)
            .stdin(Stdio::null())
            .output()
            .with_context(|| python.display().to_string())?;
        if !installed.status.success() {
            bail!("{}", String::from_utf8_lossy(&installed.stderr).trim());
        }
        Ok(())
    };
    // Some systems have pip for virtual environments only.
    let installed = install(Path::new("python3")).or_else(|plain| {
        let environment = stage.path().join("venv");
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment)
            .output()?;
        if !made.status.success() {
            return Err(plain);
        }
        install(&environment.join("bin/python3"))
    });
    installed.context(
        "the Python client needs python3 with pip (on Debian: apt-get install python3-venv) and the package index \
         that pip uses; set NEXUS_TEST_WITHOUT_PYTHON=1 to go without this test",
    )?;
    match std::fs::rename(&site, &ready) {
        Err(error) if !ready.is_dir() => Err(error.into()),
        _ => Ok(ready),
    }
}

#[tokio::test]
async fn a_python_client_made_by_reflection_deploys_invokes_and_decides() -> anyhow::Result<()> {
    if std::env::var_os("NEXUS_TEST_WITHOUT_PYTHON").is_some_and(|set| !set.is_empty()) {
        eprintln!("NOT TESTED: the Python client, because NEXUS_TEST_WITHOUT_PYTHON is set");
        return Ok(());
    }
    let packages = packages()?;
    let origin = Origin::json(json!({ "id": 17 })).await?;
    let host = Host::builder()
        .config(&format!(
            "[egress]\nprivate_origins = [\"{}\"]\n",
            origin.url()
        ))
        .start()?;
    let directory = tempfile::tempdir()?;
    let component = directory.path().join("writer.wasm");
    std::fs::write(
        &component,
        probe::component("writer", &[&probe::http(&origin.url())]),
    )?;
    let input = Value::from(probe::post(
        &origin.url(),
        "/orders",
        &json!({ "side": "buy", "n": 3 }),
    ));
    let mut python = Command::new("python3");
    python
        .arg(root().join("tests/python/client.py"))
        .args([
            "--endpoint",
            &host.endpoint,
            "--token",
            host.token(),
            "--input",
            &input.to_string(),
        ])
        .arg("--component")
        .arg(&component)
        .env("PYTHONPATH", &packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || python.output()).await??;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let seen: Value = serde_json::from_slice(&ran.stdout)?;

    let services: Vec<&str> = seen["services"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for service in [
        "Agent",
        "Invocation",
        "Approval",
        "Forge",
        "Vault",
        "Memory",
        "Audit",
        "System",
    ] {
        assert!(
            services.contains(&format!("nexus.v1.{service}Service").as_str()),
            "{services:?}"
        );
    }
    assert_eq!(seen["agent"]["name"], "agents/writer");
    assert_eq!(seen["waiting"]["state"], "STATE_WAITING");
    // The whole request was there to be read before anybody said yes.
    let rendering = seen["approval"]["rendering"].as_str().unwrap();
    for part in [&*origin.url(), "/orders", "POST", r#""side":"buy""#] {
        assert!(rendering.contains(part), "no {part} in {rendering}");
    }
    assert_eq!(
        seen["decided"]["decisions"][0]["verdict"],
        "VERDICT_APPROVE"
    );
    assert_eq!(seen["ended"]["state"], "STATE_SUCCEEDED");
    assert_eq!(seen["missing"][0], "NOT_FOUND");
    // Exactly that write happened, once.
    let received = origin.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].method, "POST");
    assert_eq!(received[0].target, "/orders");
    assert_eq!(
        serde_json::from_slice::<Value>(&received[0].body)?,
        json!({ "side": "buy", "n": 3 })
    );
    Ok(())
}
