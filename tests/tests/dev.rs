//! `nexus dev`: what is saved is what answers.

use nexus_proto::v1;
use nexus_tests::Host;
use nexus_tests::workshop::Project;
use serde_json::json;

const SOURCE: &str = "src/lib.rs";

#[tokio::test]
async fn every_save_that_builds_becomes_the_live_generation() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let mut workshop = Project::new("greeter")?.open(&host, &[])?;
    let input = json!({ "name": "Ada" });

    assert_eq!(workshop.until("/deployed/state")?, "STATE_LIVE");
    let answer = operator.output("greeter", &input).await?;
    assert_eq!(answer, json!({ "greeting": "Hello, Ada!" }));

    // A formatter or an editor saves twice, and the manifest counts as well.
    workshop
        .project
        .save("agent.toml", |text| text.replace("Hello", "Welcome"))?;
    assert_eq!(workshop.until("/deployed/agent/generation")?, 2);
    let answer = operator.output("greeter", &input).await?;
    assert_eq!(answer, json!({ "greeting": "Welcome, Ada!" }));

    workshop.project.save(SOURCE, |text| text + "\nfn")?;
    assert_eq!(workshop.until("/build/succeeded")?, false);
    let answer = operator.output("greeter", &input).await?;
    assert_eq!(answer, json!({ "greeting": "Welcome, Ada!" }));
    let words = workshop.words()?;
    assert!(words.contains("src/lib.rs:"), "{words}");

    workshop.project.save(SOURCE, |text| {
        text.trim_end_matches("\nfn")
            .replace("{}, {}!", "{}, dear {}!")
    })?;
    assert_eq!(workshop.until("/deployed/agent/generation")?, 3);
    let answer = operator.output("greeter", &input).await?;
    assert_eq!(answer, json!({ "greeting": "Welcome, dear Ada!" }));
    Ok(())
}

#[tokio::test]
async fn what_the_agent_says_is_told_whoever_calls_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut workshop = Project::new("talker")?.open(&host, &["--input", r#"{"name": "dev"}"#])?;
    let output = workshop.until("/invocation/state/success/output")?;
    assert_eq!(output, r#"{"greeting":"Hello, dev!"}"#);

    workshop.project.save(SOURCE, |text| {
        text.replace(
            "Ok(Output {",
            "log::info!(\"greeting {}\", input.name);\n    Ok(Output {",
        )
    })?;
    assert_eq!(workshop.until("/invocation/log/message")?, "greeting dev");
    let mut caller = host.client("cora", v1::Role::Caller).await?;
    let name = json!({ "name": "Cora" });
    caller.output("talker", &name).await?;
    assert_eq!(workshop.until("/invocation/log/message")?, "greeting Cora");
    Ok(())
}

#[tokio::test]
async fn what_needs_a_person_waits_and_the_live_one_goes_on() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let project = Project::new("writer")?;
    let permission =
        "http = { origin = \"https://api.example.com\", methods = [\"GET\"], paths = [\"/v1\"] }";
    project.save("agent.toml", |text| {
        format!("{text}\n[[permission]]\n{permission}\n")
    })?;
    project.save(SOURCE, |text| {
        text.replace(
            "    Ok(Output {",
            "    if input.name == \"the web\" {\n        http::get(\"https://api.example.com/v1\")?;\n    }\n    Ok(Output {",
        )
    })?;
    let mut workshop = project.open(&host, &[])?;
    assert_eq!(workshop.until("/deployed/state")?, "STATE_LIVE");
    workshop.project.save("agent.toml", |text| {
        text.replace("\"GET\"", "\"GET\", \"POST\"")
    })?;
    let permissions = workshop.until("/deployed/permissionsDigest")?;
    let name = json!({ "name": "Ada" });
    let answer = operator.output("writer", &name).await?;
    assert_eq!(answer, json!({ "greeting": "Hello, Ada!" }));
    let request = v1::AcceptAgentRequest {
        name: "agents/writer".to_owned(),
        permissions_digest: permissions.as_str().unwrap_or_default().to_owned(),
    };
    let accepted = operator.agents.accept_agent(request).await?.into_inner();
    assert_eq!(accepted.generation, 2);
    Ok(())
}

#[test]
fn a_directory_without_a_project_is_told_so() -> anyhow::Result<()> {
    let host = Host::start()?;
    let empty = tempfile::tempdir()?;
    let output = host.nexus(&["dev", &empty.path().to_string_lossy()])?;
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr)?;
    assert!(words.contains("no Cargo.toml"), "{words}");
    Ok(())
}
