//! The recipes of `docs/policy.md`: each policy is one, and its cases come true.

use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use nexus_tests::guests::root;
use nexus_tests::host::binary;

use crate::markdown::blocks;

/// The shipped policy without the rule of this id.
fn without(policy: &str, id: &str) -> anyhow::Result<String> {
    let at = policy.find(&format!("@id(\"{id}\")"));
    let at = at.with_context(|| format!("there is no rule {id}"))?;
    let end = policy[at..].find("};").context("the rule ends")? + at + 2;
    Ok(format!("{}{}", &policy[..at], &policy[end..]))
}

fn test(directory: &std::path::Path, cases: &str) -> anyhow::Result<Output> {
    std::fs::write(directory.join("cases.toml"), cases)?;
    Ok(Command::new(binary())
        .args(["policy", "test", "cases.toml"])
        .current_dir(directory)
        .output()?)
}

#[test]
fn every_recipe_of_the_policy_page_comes_true() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(root().join("docs/policy.md"))?;
    let shipped = std::fs::read_to_string(root().join("host/gate/policy/default.cedar"))?;
    let directory = tempfile::tempdir()?;
    // The page's first cases are of a copy as it is.
    std::fs::write(directory.path().join("policy.cedar"), &shipped)?;
    let (mut policies, mut files) = (0, 0);
    for block in blocks(&page) {
        match block.info.split_once(' ').unwrap_or((&block.info, "")) {
            ("cedar", replaces) => {
                let base = match replaces.strip_prefix("replaces ") {
                    Some(id) => without(&shipped, id)?,
                    None => shipped.clone(),
                };
                let policy = format!("{base}\n{}", block.text);
                std::fs::write(directory.path().join("policy.cedar"), policy)?;
                policies += 1;
            }
            ("toml", _) if block.text.contains("[[case]]") => {
                let tested = test(directory.path(), &block.text)?;
                ensure!(
                    tested.status.success(),
                    "{}\n{}{}",
                    block.text,
                    String::from_utf8_lossy(&tested.stdout),
                    String::from_utf8_lossy(&tested.stderr)
                );
                files += 1;
            }
            _ => {}
        }
    }
    ensure!(
        policies >= 5 && files > policies,
        "{policies} policies, {files} files of cases"
    );
    Ok(())
}

#[test]
fn a_case_that_does_not_come_true_says_what_is() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let case =
        |rest: &str| format!("[[case]]\nname = \"one\"\ntarget = \"https://a.example/x\"\n{rest}");
    for (rest, says) in [
        (
            "expect = 1",
            "permitted without a question, decided by reads-are-free",
        ),
        ("expect = \"forbidden\"", "permitted without a question"),
        (
            "expect = 0\npolicies = [\"other\"]",
            "expected other to decide",
        ),
        ("verb = \"FETCH\"", "no action \"FETCH\""),
    ] {
        let tested = test(directory.path(), &case(rest))?;
        let output = String::from_utf8_lossy(&tested.stdout);
        ensure!(tested.status.code() == Some(1), "{rest}: {tested:?}");
        ensure!(
            output.contains("MISSED  one") && output.contains(says),
            "{output}"
        );
    }
    // What is no file of cases is not a file without failures.
    for text in [
        "",
        "[[cases]]\nexpect = 0",
        "[[case]]\nexpect = 3",
        "[[case]]\nexpct = 0",
        "nonsense",
    ] {
        let tested = test(directory.path(), text)?;
        ensure!(
            tested.status.code() == Some(1) && tested.stdout.is_empty(),
            "{text}: {tested:?}"
        );
    }
    Ok(())
}
