//! What the binary says before it serves anything.

use std::process::{Command, Output};

fn nexus(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_nexus"))
        .args(arguments)
        .output()
}

#[test]
fn the_printed_configuration_is_a_configuration() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let printed = nexus(&["serve", "--print-config"])?;
    assert!(printed.status.success());
    let file = directory.path().join("nexus.toml");
    std::fs::write(&file, &printed.stdout)?;
    let path = file.to_string_lossy();
    let again = nexus(&["serve", "--print-config", "--config", &path])?;
    assert_eq!(
        again.stdout,
        printed.stdout,
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    Ok(())
}

#[test]
fn an_unknown_key_is_named_and_nothing_starts() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("nexus.toml");
    std::fs::write(&file, "[server]\nlisen = \"127.0.0.1:0\"\n")?;
    let data = directory.path().join("data");
    let started = nexus(&[
        "serve",
        "--config",
        &file.to_string_lossy(),
        "--data",
        &data.to_string_lossy(),
    ])?;
    assert!(!started.status.success());
    let words = String::from_utf8_lossy(&started.stderr);
    assert!(
        words.contains("lisen") && words.contains("nexus.toml"),
        "{words}"
    );
    assert!(
        !data.exists(),
        "nothing is made before the configuration is read"
    );
    Ok(())
}
