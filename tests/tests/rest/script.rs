//! `scripts/forge-hot-reload.sh`, with the guide's arguments.

use std::process::{Command, Output};

use nexus_tests::guests::root;
use nexus_tests::{Host, Http};
use serde_json::{Value, json};

fn script(variables: &[(&str, &str)], arguments: &[&str]) -> anyhow::Result<Output> {
    let path = std::env::var("PATH")?;
    Ok(Command::new(root().join("scripts/forge-hot-reload.sh"))
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .env("HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_of_the_guide_works_with_its_arguments() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let http = Http::operator(&host);
    let switch = json!({ "enabled": false });
    http.post("/v1/hotReload:set", &switch).await?.good()?;
    let reach = [
        ("GATEWAY_URL", host.endpoint.as_str()),
        ("NEXUS_TOKEN", host.token()),
    ];

    // As the guide has it; hot-reload is off, and enabled where that is asked for.
    let description = "Scans Salesforce for security issues";
    let output = script(&reach, &["salesforce_sentinel", description])?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(answer["hot_reloaded"], false, "{answer}");
    let params = r#"[{"name":"location","type":"string","required":true}]"#;
    let odd = "Fetches \"weather\" data\nfor C:\\kb\t'08'";
    let output = script(
        &reach,
        &["--enable-hot-reload", "weather_sentinel", odd, params],
    )?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(answer["hot_reloaded"], true, "{answer}");
    let input = json!({ "location": "the coast" });
    assert_eq!(client.output("weather-sentinel", &input).await?, input);
    let agent = http.get("/v1/agents/weather-sentinel").await?.good()?;
    assert_eq!(
        agent["summary"],
        "Fetches \"weather\" data\nfor C:\\kb '08'"
    );

    // What is wrong is told, by the host or before it is asked.
    let bad = script(&reach, &["Not A Name", "d"])?;
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    assert!(
        String::from_utf8_lossy(&bad.stdout).contains("INVALID_FIELD"),
        "{bad:?}"
    );
    let bad = script(&reach, &["one"])?;
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let alone = script(&[], &["one", "two"])?;
    assert!(
        String::from_utf8_lossy(&alone.stderr).contains("nexus serve"),
        "{alone:?}"
    );
    Ok(())
}
