//! `nexus doctor`: what works here, and what to do about the rest.

use http::{Response, StatusCode};
use nexus_tests::Host;
use nexus_tests::origin::Origin;
use serde_json::Value;

use super::{alone, code, stderr, stdout};

#[test]
fn doctor_names_every_part_with_and_without_a_host() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let found = alone(directory.path(), &["doctor", "--output", "json"])?;
    assert_eq!(
        code(&found),
        Some(0),
        "{}{}",
        stdout(&found),
        stderr(&found)
    );
    let found: Value = serde_json::from_slice(&found.stdout)?;
    let states = |found: &Value| -> Vec<(String, String)> {
        let checks = found["checks"].as_array().cloned().unwrap_or_default();
        checks
            .iter()
            .map(|check| {
                let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
                (text("part"), text("state"))
            })
            .collect()
    };
    // What confines the compilers, within which limits, and what that does not cover.
    let checks = found["checks"].as_array().unwrap();
    let sandbox = checks.iter().find(|check| check["part"] == "sandbox");
    let sandbox = sandbox.unwrap()["message"].as_str().unwrap();
    for words in [
        "20 s of processor time",
        "1024 MiB of memory",
        "30 s by the clock",
    ] {
        assert!(sandbox.contains(words), "{sandbox}");
    }
    assert!(
        sandbox.starts_with("Landlock ABI ") || sandbox.starts_with("bubblewrap at "),
        "{sandbox}"
    );
    let (open, mut found) = (found["checks"].clone(), found);
    let open = open.as_array().unwrap().iter();
    let open = open.filter(|check| check["part"] == "not covered");
    assert!(open.clone().count() >= 4, "{found}");
    assert!(
        open.clone().all(|check| check["state"] == "note"),
        "{found}"
    );
    if let Some(checks) = found["checks"].as_array_mut() {
        checks.retain(|check| check["part"] != "not covered");
    }
    let expected = [
        ("compiler", "ok"),
        ("sandbox", "ok"),
        ("data directory", "ok"),
        ("model", "missing"),
        ("host", "missing"),
    ];
    assert_eq!(
        states(&found),
        expected.map(|(part, state)| (part.to_owned(), state.to_owned()))
    );

    let host = Host::start()?;
    let found = host.nexus(&["doctor"])?;
    let text = stdout(&found);
    for part in ["compiler", "sandbox", "data directory", "model", "host"] {
        assert!(
            text.lines().any(|line| line.starts_with(part)),
            "{part} is missing:\n{text}"
        );
    }
    assert!(
        text.lines()
            .any(|line| line.starts_with("host") && line.contains("version")),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_the_model_s_endpoint_whether_it_has_the_model() -> anyhow::Result<()> {
    let origin = Origin::start(|received| {
        let answer = |status, body: &'static str| {
            let mut answer = Response::new(body.into());
            *answer.status_mut() = status;
            answer
        };
        match received.target.as_str() {
            "/listing/models" => answer(
                StatusCode::OK,
                r#"{"object":"list","data":[{"id":"large","object":"model"},{"id":"small"}]}"#,
            ),
            "/keyed/models" => answer(StatusCode::UNAUTHORIZED, "{}"),
            "/broken/models" => answer(StatusCode::BAD_GATEWAY, "later"),
            _ => answer(StatusCode::NOT_FOUND, "nothing here"),
        }
    })
    .await?;
    let directory = tempfile::tempdir()?;
    let at = |path: &str| format!("{}{path}", origin.url());
    let gone = "http://127.0.0.1:1";
    for (base, model, state, words) in [
        (at("/listing"), "small", "ok", "it is there"),
        (
            at("/listing"),
            "tiny",
            "note",
            "does not list it, but [\"large\", \"small\"]",
        ),
        (at("/keyed"), "small", "failed", "wants a key (401)"),
        (at("/broken"), "small", "failed", "answers 502"),
        (
            at("/v1"),
            "small",
            "note",
            "status 404 at /models); look at base_url",
        ),
        (gone.to_owned(), "small", "failed", "ask the model"),
    ] {
        let config = format!("[model]\nbase_url = {base:?}\nmodel = {model:?}\n");
        let file = directory.path().join("nexus.toml");
        std::fs::write(&file, config)?;
        let file = file.to_string_lossy();
        let found = alone(
            directory.path(),
            &["doctor", "--config", &file, "--output", "json"],
        )?;
        let found: Value = serde_json::from_slice(&found.stdout)?;
        let mut checks = found["checks"].as_array().into_iter().flatten();
        let check = checks.find(|check| check["part"] == "model");
        let check = check.unwrap_or(&Value::Null);
        assert_eq!(check["state"], state, "{check}");
        let message = check["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(model), "{message}");
        assert!(message.contains(words), "{message}");
    }
    // Nothing but the lists was asked for.
    assert!(origin.received().iter().all(|it| it.method == "GET"));
    Ok(())
}
