//! The command line as people and scripts meet it: what it offers, how it ends, what it prints.

mod doctor;
mod help;
mod json;
mod outcomes;
mod words;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use nexus_tests::host::binary;
use nexus_tests::{Host, component, guests};
use serde_json::{Value, json};

/// A command in a directory, away from any host of the machine's own.
fn alone(directory: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .env("NEXUS_DATA", directory.join("data"))
        .env_remove("NEXUS_ENDPOINT")
        .env_remove("NEXUS_TOKEN")
        .stdin(Stdio::null())
        .output()?)
}

/// A command against a host that reads `input`.
fn fed(host: &Host, arguments: &[&str], input: &[u8]) -> anyhow::Result<Output> {
    let mut child = Command::new(binary())
        .args(arguments)
        .env("NEXUS_ENDPOINT", &host.endpoint)
        .env("NEXUS_TOKEN", host.token())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("stdin is piped")?
        .write_all(input)?;
    Ok(child.wait_with_output()?)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_question_without_a_terminal_fails_and_names_the_flag_that_answers() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let demo = alone(directory.path(), &["demo"])?;
    assert_eq!(code(&demo), Some(2), "{}", stderr(&demo));
    assert!(stderr(&demo).contains("--yes"), "{}", stderr(&demo));

    let host = Host::start()?;
    let approve = host.nexus(&[
        "approvals",
        "approve",
        "apr-01a1fd56-8a9c-74e5-bead-4b59afaa1667",
    ])?;
    assert_eq!(code(&approve), Some(2), "{}", stderr(&approve));
    assert!(stderr(&approve).contains("--yes"), "{}", stderr(&approve));
    Ok(())
}

#[test]
fn without_a_host_commands_say_how_to_get_one() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let listed = alone(directory.path(), &["agents", "list"])?;
    assert_eq!(code(&listed), Some(1));
    assert!(
        stderr(&listed).contains("nexus serve"),
        "{}",
        stderr(&listed)
    );
    assert_eq!(stdout(&listed), "");
    Ok(())
}

#[test]
fn a_component_of_another_language_gets_its_manifest_by_pack() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let manifest = "format = 1\nname = \"packed\"\nversion = \"0.1.0\"\n";
    std::fs::write(directory.path().join("agent.toml"), manifest)?;
    let bare = component::without_manifest(&guests::component("echo"));
    std::fs::write(directory.path().join("bare.wasm"), &bare)?;
    let pack = [
        "pack",
        "bare.wasm",
        "--manifest",
        "agent.toml",
        "--out",
        "packed.wasm",
    ];
    let packed = alone(directory.path(), &pack)?;
    assert_eq!(code(&packed), Some(0), "{}", stderr(&packed));
    assert_eq!(std::fs::read(directory.path().join("bare.wasm"))?, bare);

    let host = Host::start()?;
    let file = directory.path().join("packed.wasm").display().to_string();
    let deployed = host.nexus(&["agents", "deploy", &file])?;
    assert_eq!(code(&deployed), Some(0), "{}", stderr(&deployed));
    let answer = host.nexus(&["invoke", "packed", r#"{"n": 1}"#])?;
    assert_eq!(
        serde_json::from_slice::<Value>(&answer.stdout)?,
        json!({ "n": 1 })
    );

    let again = alone(
        directory.path(),
        &["pack", "packed.wasm", "--manifest", "agent.toml"],
    )?;
    assert_eq!(code(&again), Some(1));
    assert!(stderr(&again).contains("2 manifests"), "{}", stderr(&again));
    std::fs::write(
        directory.path().join("agent.toml"),
        format!("{manifest}colour = 1\n"),
    )?;
    let wrong = alone(
        directory.path(),
        &["pack", "bare.wasm", "--manifest", "agent.toml"],
    )?;
    assert_eq!(code(&wrong), Some(1));
    assert!(stderr(&wrong).contains("colour"), "{}", stderr(&wrong));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_verify_holds_on_a_live_host_and_finds_a_checkpoint_that_is_not_its_own()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    operator.deploy(&guests::component("echo")).await?;
    let kept = host.nexus(&["audit", "checkpoint", "--output", "json"])?;
    let kept: Value = serde_json::from_slice(&kept.stdout)?;
    operator.deploy(&guests::component("callee")).await?;

    let sound = host.nexus(&["audit", "verify"])?;
    assert_eq!(code(&sound), Some(0), "{}", stdout(&sound));
    let directory = tempfile::tempdir()?;
    let verify = |kept: &Value| -> anyhow::Result<Output> {
        let file = directory.path().join("kept.json");
        std::fs::write(&file, kept.to_string())?;
        host.nexus(&[
            "audit",
            "verify",
            "--checkpoint",
            &file.display().to_string(),
        ])
    };
    let sound = verify(&kept)?;
    assert_eq!(code(&sound), Some(0), "{}", stdout(&sound));

    // Another hash, another place, another time: the signature does not hold for any of them.
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let changes = [
        ("hash", json!(zeros)),
        ("sequence", json!(1)),
        ("createTime", json!("2020-01-01T00:00:00Z")),
    ];
    for (field, value) in changes {
        let mut changed = kept.clone();
        changed[field] = value;
        let found = verify(&changed)?;
        assert_eq!(code(&found), Some(1), "{field}: {}", stdout(&found));
        assert!(
            stdout(&found).contains("the chain does not hold"),
            "{field}"
        );
    }
    let mut short = kept;
    short["hash"] = json!("AAAA");
    let found = verify(&short)?;
    assert_eq!(code(&found), Some(1));
    assert!(stderr(&found).contains("kept.json"), "{}", stderr(&found));
    Ok(())
}

#[test]
fn the_demo_tells_the_whole_story() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let demo = Command::new(binary())
        .args(["demo", "--yes", "--output", "json"])
        .current_dir(directory.path())
        .env("NEXUS_DATA", directory.path().join("data"))
        .env_remove("NEXUS_MODEL_URL")
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(code(&demo), Some(0), "{}", stderr(&demo));
    let told: Value = serde_json::from_slice(&demo.stdout)?;
    assert_eq!(told["ordersReceived"], 1, "{told}");
    assert_eq!(told["callsFailed"], 0, "{told}");
    assert_eq!(told["auditSound"], true, "{told}");
    assert!(
        !directory.path().join("data").exists(),
        "the demo has a directory of its own and leaves nothing"
    );
    Ok(())
}
