//! The requests of the published guide, sent by curl as the guide prints them: only host, port and
//! token are others.

use std::process::Command;

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_tests::{Host, Http};
use serde_json::{Value, json};

/// What the guide prints, word for word.
const ENABLE: &str = "curl -X POST http://localhost:8000/api/v1/forge/hot-reload/enable";
const CREATE: &str = r#"curl -X POST http://localhost:8000/api/v1/forge/create \
  -H "Content-Type: application/json" \
  -d '{
    "name": "salesforce_sentinel",
    "description": "Scans Salesforce for security issues",
    "params": [
      {"name": "org_id", "type": "string", "required": true}
    ]
  }'"#;
const STATUS: &str = "curl http://localhost:8000/api/v1/forge/hot-reload/status";
const LIST: &str = "curl http://localhost:8000/api/v1/forge/hot-reload/list";
const TRIGGER_OTHER: &str = r#"curl -X POST http://localhost:8000/api/v1/forge/hot-reload/trigger \
  -H "Content-Type: application/json" \
  -d '{
    "skill_name": "my_skill",
    "module_name": "forge_gen_my_skill",
    "file_path": "crates/pagi-skills/src/forge_gen_my_skill.rs"
  }'"#;
/// The guide prints this request's body only.
const TRIGGER: &str = r#"curl -X POST http://localhost:8000/api/v1/forge/hot-reload/trigger \
  -H "Content-Type: application/json" \
  -d '{
  "skill_name": "salesforce_sentinel",
  "module_name": "forge_gen_salesforce_sentinel",
  "file_path": "crates/pagi-skills/src/forge_gen_salesforce_sentinel.rs"
}'"#;
const DISABLE: &str = "curl -X POST http://localhost:8000/api/v1/forge/hot-reload/disable";

/// Runs a command of the guide in a shell, against this host.
fn replay(host: &Host, command: &str) -> anyhow::Result<Value> {
    let port = host.endpoint.rsplit(':').next().context("a port")?;
    let token = format!("curl -sS -H 'Authorization: Bearer {}' ", host.token());
    let command = command
        .replace(":8000", &format!(":{port}"))
        .replacen("curl ", &token, 1);
    let output = Command::new("bash").args(["-c", &command]).output()?;
    ensure!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The names of an answer's members, sorted.
fn members(value: &Value) -> Vec<&str> {
    let object = value.as_object();
    let mut names: Vec<_> = object.iter().flat_map(|object| object.keys()).collect();
    names.sort();
    names.into_iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_the_published_guide_get_its_answers() -> anyhow::Result<()> {
    let host = Host::start()?;
    let on = "New skills will be compiled and activated automatically.";
    let enabled = replay(&host, ENABLE)?;
    assert_eq!(
        enabled,
        json!({ "status": "ok", "message": format!("Hot-reload enabled. {on}") })
    );

    let created = replay(&host, CREATE)?;
    for (member, value) in [
        ("success", json!(true)),
        ("skill_name", json!("salesforce_sentinel")),
        ("module_name", json!("forge_gen_salesforce_sentinel")),
        ("cargo_check_ok", json!(true)),
        ("hot_reloaded", json!(true)),
        (
            "message",
            json!(
                "Skill 'salesforce_sentinel' created and hot-reloaded successfully. Ready for immediate use."
            ),
        ),
    ] {
        assert_eq!(created[member], value, "{member}: {created:#}");
    }
    assert!(
        created["compilation_time_ms"].as_u64() > Some(0),
        "{created:#}"
    );
    assert!(created["file_path"].as_str().unwrap().ends_with(".rs"));
    // Without a model it is what it can be, and says so.
    assert!(
        created["note"].as_str().unwrap().contains("[model]"),
        "{created:#}"
    );

    // Ready for immediate use, and told what it was asked to be told.
    let mut client = host.operator().await?;
    let input = json!({ "org_id": "00D" });
    assert_eq!(client.output("salesforce-sentinel", &input).await?, input);
    let refused = client.invoke("salesforce-sentinel", &json!({})).await;
    assert!(refused.is_err(), "org_id is required");

    let status = replay(&host, STATUS)?;
    assert_eq!(
        status,
        json!({ "enabled": true, "message": format!("Hot-reload is enabled. {on}") })
    );

    let list = replay(&host, LIST)?;
    assert_eq!(members(&list), ["count", "skills"]);
    assert_eq!(list["count"], 1);
    let skill = &list["skills"][0];
    assert_eq!(
        members(skill),
        ["file_path", "loaded_at", "module_name", "skill_name"]
    );
    assert_eq!(skill["skill_name"], "salesforce_sentinel");
    assert_eq!(skill["module_name"], created["module_name"]);
    assert_eq!(skill["file_path"], created["file_path"]);
    // Seconds since the epoch, as the guide has it.
    assert!((1_707_753_600..100_000_000_000).contains(&skill["loaded_at"].as_i64().unwrap()));

    let triggered = replay(&host, TRIGGER)?;
    assert_eq!(
        members(&triggered),
        [
            "compilation_time_ms",
            "load_time_ms",
            "message",
            "skill_name",
            "success"
        ]
    );
    assert_eq!(triggered["success"], true);
    assert_eq!(
        triggered["message"],
        "Skill 'salesforce_sentinel' hot-reloaded successfully. Ready for immediate use."
    );
    assert!(triggered["load_time_ms"].as_u64() >= triggered["compilation_time_ms"].as_u64());

    let disabled = replay(&host, DISABLE)?;
    assert_eq!(members(&disabled), ["message", "status"]);
    assert_eq!(disabled["status"], "ok");
    assert!(
        disabled["message"]
            .as_str()
            .unwrap()
            .starts_with("Hot-reload disabled. ")
    );

    // Built and not loaded, until it is triggered.
    let held = replay(&host, &CREATE.replace("salesforce_sentinel", "my_skill"))?;
    assert_eq!(held["success"], true, "{held:#}");
    assert_eq!(held["hot_reloaded"], false);
    assert_eq!(held["cargo_check_ok"], true);
    assert_eq!(replay(&host, LIST)?["count"], 1);
    let triggered = replay(&host, TRIGGER_OTHER)?;
    assert_eq!(triggered["success"], true, "{triggered:#}");
    assert_eq!(replay(&host, LIST)?["count"], 2);
    assert_eq!(client.output("my-skill", &input).await?, input);
    Ok(())
}

#[tokio::test]
async fn a_skill_that_asks_for_something_waits_for_a_person_and_is_then_loaded()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let token = v1::CreateTokenRequest {
        principal: "bob".to_owned(),
        role: v1::Role::Forger.into(),
        ..v1::CreateTokenRequest::default()
    };
    let bob = operator
        .system
        .create_token(token)
        .await?
        .into_inner()
        .secret;
    let http = Http::new(&host, Some(&bob));
    let create = json!({
        "name": "order_sentinel",
        "description": "Places an order",
        "template": "http-write",
        "set": { "origin": "https://api.example.com" },
    });
    let created = http.post("/api/v1/forge/create", &create).await?.good()?;
    assert_eq!(created["success"], true, "{created:#}");
    assert_eq!(created["hot_reloaded"], false);
    assert_eq!(created["cargo_check_ok"], true);
    let approval = created["approval"].as_str().unwrap().to_owned();
    let rendering = operator.approval(&approval).await?.rendering;
    assert!(rendering.contains("https://api.example.com"), "{rendering}");
    let accept = v1::AcceptAgentRequest {
        name: "agents/order-sentinel".to_owned(),
        permissions_digest: created["permissions_digest"].as_str().unwrap().to_owned(),
    };
    let live = operator.agents.accept_agent(accept).await?.into_inner();
    assert_eq!(live.owner, "bob");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_created_is_told_as_the_guide_tells_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let http = Http::operator(&host);
    // A template that was asked for and not told enough.
    let create =
        json!({ "name": "weather", "description": "the weather", "template": "http-json" });
    let needs = http.post("/api/v1/forge/create", &create).await?.good()?;
    assert_eq!(needs["success"], false, "{needs:#}");
    assert_eq!(needs["cargo_check_ok"], false);
    let missing: Vec<_> = needs["needs_parameters"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    assert_eq!(missing[0]["name"], "origin", "{needs:#}");
    // A template that fits and is not told enough: a skeleton, which says what it lacks.
    let create = json!({ "name": "weather", "description": "fetch the weather from an API" });
    let skeleton = http.post("/api/v1/forge/create", &create).await?.good()?;
    assert_eq!(skeleton["success"], true, "{skeleton:#}");
    assert!(
        skeleton["note"].as_str().unwrap().contains("origin, path"),
        "{skeleton:#}"
    );
    // Where nothing compiles there is not even that.
    let bare = "[forge]\nrustc = \"/nonexistent/rustc\"\n";
    let bare = Host::builder().config(bare).start()?;
    let none = Http::operator(&bare)
        .post("/api/v1/forge/create", &create)
        .await?
        .good()?;
    assert_eq!(none["success"], false, "{none:#}");
    assert_eq!(none["failure_reason"], "FAILURE_REASON_COMPILE_UNAVAILABLE");
    let told = |key: &str| none[key].as_str().unwrap_or_default();
    assert!(told("note").starts_with("A skeleton was to"), "{none:#}");
    assert!(told("forge").starts_with("forges/"), "{none:#}");

    for (path, body, reason) in [
        (
            "create",
            json!({ "name": "Not A Name", "description": "d" }),
            "INVALID_FIELD",
        ),
        ("create", json!({ "name": "" }), "INVALID_FIELD"),
        ("create", json!({ "description": "d" }), "INVALID_JSON"),
        (
            "create",
            json!({ "name": "a", "nmae": "b" }),
            "INVALID_JSON",
        ),
        (
            "create",
            json!({ "name": "a", "params": [{ "name": "p", "type": "colour" }] }),
            "INVALID_JSON",
        ),
        (
            "hot-reload/trigger",
            json!({ "skill_name": "nobody" }),
            "NOT_FOUND",
        ),
        (
            "hot-reload/trigger",
            json!({ "skill_name": "weather", "module_name": "other" }),
            "INVALID_FIELD",
        ),
    ] {
        let answer = http.post(&format!("/api/v1/forge/{path}"), &body).await?;
        assert!(answer.status.is_client_error(), "{path} {body}: {answer:?}");
        assert_eq!(answer.reason()?, reason, "{path} {body}: {answer:?}");
    }
    let nobody = Http::new(&host, None);
    for path in ["hot-reload/enable", "hot-reload/trigger", "create"] {
        let answer = nobody
            .post(&format!("/api/v1/forge/{path}"), &json!("?"))
            .await?;
        assert_eq!(answer.reason()?, "UNAUTHENTICATED", "{path}");
    }
    let missing = http.get("/api/v1/forge/other").await?;
    assert_eq!(missing.reason()?, "NO_SUCH_PATH");
    let wrong = http.get("/api/v1/forge/create").await?;
    assert_eq!(wrong.status.as_u16(), 405);
    Ok(())
}
