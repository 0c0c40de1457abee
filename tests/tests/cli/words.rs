//! The command line speaks in its own words, says a thing once, and points at what to type.

use nexus_tests::{Host, component, guests};
use serde_json::Value;

use crate::outcomes::{WRITE, WRITER};
use crate::{alone, code, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_commands_and_say_a_thing_once() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    operator.deploy(&guests::component("callee")).await?;
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["invoke", "nobody"],
            1,
            "there is no agent \"nobody\"; `nexus agents list` shows them",
        ),
        (
            &["approvals", "show", "temp"],
            1,
            "an approval's id begins with apr-; `nexus approvals list`",
        ),
        (
            &["forge", "create", "Temp_1", "hello"],
            1,
            "the agent's name: \"Temp_1\"",
        ),
        (
            &["invoke", "callee", "{below: 3}"],
            1,
            "the input is not JSON",
        ),
        (
            &["invoke", "callee", r#"{"do": "dance"}"#],
            1,
            "`nexus agents show NAME` shows the schema",
        ),
        (&["deploy", "x.wasm"], 2, "'agents deploy'"),
        (
            &["audit", "list", "--agent", "nobody"],
            0,
            "there is no agent \"nobody\"",
        ),
    ];
    for (arguments, expected, says) in cases {
        let ended = host.nexus(arguments)?;
        let said = stderr(&ended);
        assert_eq!(code(&ended), Some(expected), "{arguments:?}: {said}");
        assert_eq!(said.matches(says).count(), 1, "{arguments:?}: {said}");
        assert!(
            !said.contains("List") && !said.contains("Get"),
            "{arguments:?} names a method: {said}"
        );
    }
    let wrong = host.nexus(&["invoke", "callee", r#"{"do": "dance"}"#])?;
    assert!(!stderr(&wrong).contains("\n  input"), "{}", stderr(&wrong));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_decides_nothing_is_sent_to_who_does() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    operator.deploy(&guests::component("callee")).await?;
    let writer = component::with_manifest(&guests::component("probe"), WRITER);
    operator.deploy(&writer).await?;
    let made = host.nexus(&["tokens", "create", "bot", "--role", "caller"])?;
    assert_eq!(code(&made), Some(0), "{}", stderr(&made));
    assert!(stderr(&made).contains("bot"), "{}", stderr(&made));
    let token = stdout(&made);
    let asked = host.nexus(&["invoke", "writer", WRITE, "--token", token.trim()])?;
    assert_eq!(code(&asked), Some(17), "{}", stderr(&asked));
    assert!(stderr(&asked).contains("an approver"), "{}", stderr(&asked));
    let asked = host.nexus(&["invoke", "writer", WRITE])?;
    assert!(
        !stderr(&asked).contains("an approver"),
        "{}",
        stderr(&asked)
    );

    // What just happened is found without reading the trail from its beginning.
    let events = |arguments: &[&str]| -> anyhow::Result<Vec<Value>> {
        let listed = [&["audit", "list", "--output", "json"], arguments].concat();
        let listed: Value = serde_json::from_slice(&host.nexus(&listed)?.stdout)?;
        Ok(listed["events"].as_array().cloned().unwrap_or_default())
    };
    let of_agent = events(&["--agent", "writer"])?;
    let last = events(&["--agent", "writer", "--last", "2"])?;
    assert_eq!(last, of_agent[of_agent.len() - 2..]);
    let newest = events(&["--last", "1"])?;
    assert_eq!(newest.len(), 1);
    assert!(newest[0]["sequence"].as_str() >= last[1]["sequence"].as_str());
    let table = stdout(&host.nexus(&["audit", "list", "--last", "1"])?);
    assert!(table.contains("INVOCATION"), "{table}");
    Ok(())
}

#[test]
fn a_component_is_checked_without_a_host() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("agent.wasm");
    let check = ["pack", "agent.wasm", "--check"];
    std::fs::write(&file, guests::component("callee"))?;
    let good = alone(directory.path(), &check)?;
    assert_eq!(code(&good), Some(0), "{}", stderr(&good));
    assert!(stdout(&good).contains("callee is an agent"), "{good:?}");

    let bare = component::without_manifest(&guests::component("echo"));
    std::fs::write(&file, &bare)?;
    let wrong = alone(directory.path(), &check)?;
    assert_eq!(code(&wrong), Some(1), "{}", stdout(&wrong));
    assert!(stderr(&wrong).contains("no manifest"), "{wrong:?}");

    // A permission that the component cannot use, and a key that there is not: said once, nothing written.
    let manifest = "format = 1\nname = \"echo\"\nversion = \"0.1.0\"\n";
    let cases = [
        (
            "[[permission]]\nmemory = { space = \"notes\", access = \"read\" }\n",
            "remove the permission",
        ),
        ("colour = 1\n", "unknown field `colour`"),
    ];
    let check = ["pack", "agent.wasm", "--manifest", "agent.toml", "--check"];
    for (more, says) in cases {
        std::fs::write(
            directory.path().join("agent.toml"),
            format!("{manifest}{more}"),
        )?;
        let wrong = alone(directory.path(), &check)?;
        assert_eq!(code(&wrong), Some(1), "{}", stdout(&wrong));
        assert_eq!(stderr(&wrong).matches(says).count(), 1, "{wrong:?}");
        assert_eq!(std::fs::read(&file)?, bare);
    }
    Ok(())
}
