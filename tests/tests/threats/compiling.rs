//! Bombs for the compiler, and machine code that somebody changed: T9.

use std::os::unix::fs::PermissionsExt as _;

use nexus_tests::client::reason;
use nexus_tests::{Host, guests as real};
use serde_json::json;
use tonic::Code;

use super::guests::{NULL, agent, module, pack};
use super::support::{host, is_well};

fn nested(open: &str, close: &str, times: usize) -> String {
    open.repeat(times) + &close.repeat(times)
}

#[tokio::test]
async fn t09_compile_bombs_are_refused_or_killed_and_the_host_goes_on() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;
    let function = |body: &str| module("17", "", &format!("(func $bomb {body})"), NULL);
    let locals = "(local i64)".repeat(200);
    let mut wide = String::new();
    for number in 0..2_000 {
        wide.push_str(&format!(
            "(local.set {} (i64.add (local.get {}) (i64.const {number})))",
            number % 200,
            (number * 7) % 200
        ));
    }
    let modules = |count: usize, nested: bool| {
        let text = if nested {
            format!("{}{}", "(component ".repeat(count), ")".repeat(count))
        } else {
            format!(
                "(component {})",
                "(core module (func (loop)))".repeat(count)
            )
        };
        pack("bomb", "", wat::parse_str(text).unwrap())
    };
    let mut truncated = agent("bomb", "", &module("17", "", "", NULL));
    truncated.truncate(truncated.len() / 2);
    let mut scrambled = agent("bomb", "", &module("17", "", "", NULL));
    for (number, byte) in scrambled.iter_mut().enumerate().skip(8) {
        *byte ^= u8::from(number % 61 == 0) * 0x55;
    }
    let bombs = [
        // Took the compiler 75 seconds and half a gigabyte.
        (
            "2,000 loops in loops with 200 locals",
            agent(
                "bomb",
                "",
                &function(&format!(
                    "{locals}{}",
                    "loop ".repeat(2_000) + &wide + &"end ".repeat(2_000)
                )),
            ),
        ),
        (
            "65 loops in loops",
            agent("bomb", "", &function(&nested("loop ", "end ", 65))),
        ),
        (
            "65 loops among blocks",
            agent(
                "bomb",
                "",
                &function(&nested("block loop ", "end end ", 65)),
            ),
        ),
        (
            "10,001 locals",
            agent(
                "bomb",
                "",
                &function(&format!("(local {})", "i64 ".repeat(10_001))),
            ),
        ),
        (
            "a function of a megabyte",
            agent(
                "bomb",
                "",
                &function(&"(drop (i64.const 9223372036854775807))".repeat(100_000)),
            ),
        ),
        (
            "10,000 blocks in blocks and a table of jumps",
            agent(
                "bomb",
                "",
                &function(&format!(
                    "{} i32.const 0 br_table {} {}",
                    "block ".repeat(10_000),
                    (0..10_000).map(|n| format!("{n} ")).collect::<String>(),
                    "end ".repeat(10_000)
                )),
            ),
        ),
        ("300 modules", modules(300, false)),
        ("components in components", modules(90, true)),
        ("half a component", truncated),
        ("a scrambled component", scrambled),
    ];
    for (what, bomb) in bombs {
        match client.upload(&bomb, Default::default()).await {
            Err(status) => {
                let refused = matches!(
                    status.code(),
                    Code::InvalidArgument | Code::ResourceExhausted
                );
                assert!(refused, "{what}: {status}");
                let reason = reason(&status);
                assert!(
                    matches!(
                        reason.as_str(),
                        "INVALID_COMPONENT" | "COMPONENT_DOES_NOT_RUN" | "MANIFEST_MISMATCH"
                    ),
                    "{what}: {status}"
                );
            }
            // Affordable after all is as good; the point is that the host is there.
            Ok(deployed) => assert!(what.contains("table of jumps"), "{what}: {deployed:?}"),
        }
        is_well(&mut host, &mut client).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_changed_machine_code_is_compiled_again_and_never_loaded() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let host = Host::builder().data(&data).start()?;
    host.operator()
        .await?
        .deploy(&real::component("echo"))
        .await?;
    host.stop()?;
    let artifacts = || -> anyhow::Result<Vec<std::path::PathBuf>> {
        let mut found = Vec::new();
        let mut open = vec![data.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|extension| extension == "art") {
                    found.push(path);
                }
            }
        }
        Ok(found)
    };
    let [artifact] = artifacts()?
        .try_into()
        .map_err(|found| anyhow::anyhow!("{found:?}"))?;
    let whole = std::fs::read(&artifact)?;
    assert_eq!(
        std::fs::metadata(artifact.parent().unwrap())?
            .permissions()
            .mode()
            & 0o77,
        0
    );
    // The format's mark, the authentication code, the beginning, the middle and the end of the code.
    for place in [0, 20, 60, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        std::fs::write(&artifact, &changed)?;
        let host = Host::builder().data(&data).start()?;
        let output = host
            .operator()
            .await?
            .output("echo", &json!({ "n": place }))
            .await?;
        assert_eq!(output, json!({ "n": place }));
        host.stop()?;
        let [again] = artifacts()?
            .try_into()
            .map_err(|found| anyhow::anyhow!("{found:?}"))?;
        assert_eq!(again, artifact);
        assert!(
            std::fs::read(&again)? != changed,
            "the changed code is still there"
        );
    }
    Ok(())
}
