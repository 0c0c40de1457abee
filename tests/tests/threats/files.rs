//! Files of the host: T11. There is no capability for files, and WASI opens no directory.

use std::fs;

use nexus_proto::v1::InvokeAgentRequest;
use nexus_tests::{guests as real, probe};
use serde_json::{Value, json};

use super::guests::{agent_of, module};
use super::support::{ending, host};

/// What the standard library asks for before it opens a path, and a method of what it would be given.
const FILESYSTEM: &str = "package wasi:filesystem@0.2.0 {
    interface types { resource descriptor { is-same-object: func(other: borrow<descriptor>) -> bool; } }
    interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
}";

fn wit(import: &str) -> String {
    format!(
        "package test:guest; {FILESYSTEM} world guest {{ {import}; export nexus:agent/handler@0.1.0; }}"
    )
}

#[tokio::test]
async fn t11_no_path_leads_to_a_file_of_the_host() -> anyhow::Result<()> {
    let (_host, mut client) = host("").await?;
    client
        .deploy(&real::with_manifest(
            "hostile",
            &probe::bare_manifest(
                "burglar",
                &[
                    &probe::http("https://nowhere.example.com"),
                    &probe::memory("hostile"),
                ],
            )
            .replace("type = \"array\"", "type = \"object\""),
        ))
        .await?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("inner"))?;
    fs::write(at("kept"), "canary")?;
    fs::write(at("inner/kept"), "canary")?;
    std::os::unix::fs::symlink(at("kept"), at("pointer"))?;
    let tries = client
        .output(
            "burglar",
            &json!({ "do": "paths", "path": directory.path() }),
        )
        .await?;
    let tries = tries.as_array().cloned().unwrap_or_default();
    assert!(tries.len() >= 25, "{tries:?}");
    for attempt in &tries {
        assert_eq!(attempt[1], Value::Null, "{attempt}");
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["inner", "kept", "pointer"]);
    assert_eq!(fs::read_to_string(at("kept"))?, "canary");
    assert_eq!(fs::read_to_string(at("inner/kept"))?, "canary");
    assert!(!fs::metadata(at("kept"))?.permissions().readonly());
    Ok(())
}

#[tokio::test]
async fn t11_wasi_opens_no_directory_and_knows_no_forged_descriptor() -> anyhow::Result<()> {
    let (_host, mut client) = host("").await?;
    // Answers how many directories there are.
    let count = module(
        "17",
        r#"(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))"#,
        "",
        "(call $directories (i32.const 2048))
         (i32.store8 (i32.const 1040) (i32.add (i32.const 48) (i32.load (i32.const 2052))))
         (call $ok (i32.const 1040) (i32.const 1))",
    );
    let wit_of_count = wit("import wasi:filesystem/preopens@0.2.0");
    client
        .deploy(&agent_of("counter", "", &wit_of_count, &count))
        .await?;
    assert_eq!(client.output("counter", &json!(0)).await?, json!(0));

    // Uses the descriptor whose number is the first byte of its input.
    let forge = module(
        "17",
        r#"(import "wasi:filesystem/types@0.2.0" "[method]descriptor.is-same-object" (func $same (param i32 i32) (result i32)))"#,
        "",
        "(local $handle i32)
         (local.set $handle (i32.sub (i32.load8_u (local.get $ptr)) (i32.const 48)))
         (drop (call $same (local.get $handle) (local.get $handle)))
         (call $ok (i32.const 1024) (i32.const 4))",
    );
    let wit_of_forge = wit("import wasi:filesystem/types@0.2.0");
    client
        .deploy(&agent_of("forger", "", &wit_of_forge, &forge))
        .await?;
    for number in 0..10 {
        let request = InvokeAgentRequest {
            name: "agents/forger".to_owned(),
            input: number.to_string(),
            ..InvokeAgentRequest::default()
        };
        let ended = client.invocations.invoke_agent(request).await?.into_inner();
        assert_eq!(ending(&ended), "trap", "descriptor {number}: {ended:?}");
    }
    Ok(())
}
