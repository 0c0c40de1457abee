//! Secrets are used and never seen: not by agents, not over the API, not on the disk.

mod residue;
mod reveal;

use std::fmt::Debug;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::StatusCode;
use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_tests::client::reason;
use nexus_tests::origin::{Answer, Origin, Received, json as answer};
use nexus_tests::{Authority, Client, Host, probe};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

/// Long and odd enough to stand nowhere by chance.
const VALUE: &str = "canary-7f3Zq9+wK2/pLx8Rt5";

/// A host with the agent `trader`, which may have `exchange-key` sent to `exchange` and talk to all
/// three origins.
struct Stage {
    host: Host,
    client: Client,
    /// In the audience of the manifest and, unless a test says otherwise, of the operator.
    exchange: Origin,
    /// In the audience of the manifest alone.
    other: Origin,
    plain: Origin,
    _authority: Authority,
    /// The data directory, and beside it everything that the host has logged.
    directory: TempDir,
}

/// Tells its caller everything it was told.
fn mirror(received: &Received) -> Answer {
    let told = json!({
        "target": received.target,
        "headers": received.fields(),
        "body": String::from_utf8_lossy(&received.body),
    });
    let mut response = answer(StatusCode::OK, &told);
    if let Some(value) = received.headers.get("authorization") {
        response.headers_mut().insert("x-you-sent", value.clone());
    }
    response
}

impl Stage {
    async fn new() -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let exchange = Origin::start_tls(&authority, mirror).await?;
        let other = Origin::start_tls(&authority, mirror).await?;
        let plain = Origin::start(mirror).await?;
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log").display().to_string();
        let logging = format!(r#"NEXUS_LOG=trace exec "$@" 2>>"{log}""#);
        let host = Host::builder()
            .data(&directory.path().join("data"))
            .through(&["sh", "-c", &logging, "sh"])
            .config(&format!(
                "[egress]\nprivate_origins = [{:?}, {:?}, {:?}]\nextra_roots = {:?}",
                exchange.url(),
                other.url(),
                plain.url(),
                authority.path(),
            ))
            .start()?;
        let mut client = host.operator().await?;
        let permissions = [
            probe::http(&exchange.url()),
            probe::http(&other.url()),
            probe::http(&plain.url()),
            probe::secret("exchange-key", &[&exchange.url(), &other.url()]),
            probe::memory("notes"),
        ];
        let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
        client
            .deploy(&probe::component("trader", &permissions))
            .await?;
        Ok(Self {
            host,
            client,
            exchange,
            other,
            plain,
            _authority: authority,
            directory,
        })
    }

    async fn set(&mut self, value: &str) -> anyhow::Result<v1::Secret> {
        let request = v1::SetSecretRequest {
            secret_id: "exchange-key".to_owned(),
            value: value.to_owned(),
            audience: vec![self.exchange.url()],
            ..v1::SetSecretRequest::default()
        };
        Ok(self.client.vault.set_secret(request).await?.into_inner())
    }

    /// The error code of the last step, or `ok`.
    async fn end(&mut self, steps: &[Value]) -> anyhow::Result<String> {
        let output = self.client.output("trader", &json!(steps)).await?;
        let answers = output.as_array().map(Vec::as_slice).unwrap_or_default();
        let last = answers.last().unwrap_or(&Value::Null);
        Ok(last["error"].as_str().unwrap_or("ok").to_owned())
    }
}

fn bearer() -> Value {
    json!({ "call": "http.request.secret-header", "name": "authorization", "format": "Bearer {}", "secret": "s" })
}

/// One request with the secret in a place.
fn with_secret(origin: &Origin, method: &str, part: Value) -> Vec<Value> {
    let mut steps = vec![json!({ "call": "vault.secret.open", "name": "exchange-key", "as": "s" })];
    steps.extend(probe::exchange(&origin.url(), method, "/account", &[part]));
    steps
}

/// The shapes in which the value could be written down.
fn shapes(value: &str) -> Vec<String> {
    let mut shapes = vec![
        value.to_owned(),
        hex::encode(value),
        hex::encode_upper(value),
        STANDARD.encode(value),
        value.replace('+', "%2B").replace('/', "%2F"),
    ];
    // In base64 after one or two other bytes, without the characters that depend on those.
    for before in ["x", "xx"] {
        let text = STANDARD_NO_PAD.encode(format!("{before}{value}"));
        shapes.push(text[4..text.len() - 4].to_owned());
    }
    shapes
}

#[track_caller]
fn assert_clean(what: &str, bytes: &[u8]) {
    for shape in shapes(VALUE) {
        let found = bytes
            .windows(shape.len())
            .any(|window| window == shape.as_bytes());
        assert!(!found, "{what} holds the secret as {shape}");
    }
}

/// Everything of a response: its fields as they print, in which bytes would be numbers.
#[track_caller]
fn clean(response: &(impl prost::Message + Debug)) {
    let text = format!("{response:?}");
    assert_clean(&text, text.as_bytes());
    assert_clean(&text, &response.encode_to_vec());
}

fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_response_and_no_file_holds_a_secret_after_a_day_s_work() -> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    let set = stage.set(VALUE).await?;
    assert_eq!(
        (set.name.as_str(), set.version),
        ("secrets/exchange-key", 1)
    );
    clean(&set);

    // A read, whose answer tells the agent what it sent, and the agent keeps it.
    let mut steps = with_secret(&stage.exchange, "get", bearer());
    steps.extend([
        json!({ "call": "memory.space.open", "name": "notes", "access": "read-write", "as": "m" }),
        json!({ "call": "memory.space.put", "on": "m", "key": "k", "value": "kept" }),
    ]);
    let read = stage.client.invoke("trader", &json!(steps)).await?;
    clean(&read);
    let output = stage.client.result(&read.name).await?.to_string();
    assert!(output.contains("[secret:exchange-key]"), "{output}");
    // A write by form, and one by basic authentication and signature, past a person.
    let form = json!({ "call": "http.request.secret-form", "name": "key", "secret": "s" });
    let basic = json!({ "call": "http.request.secret-basic", "name": "anna", "secret": "s" });
    for part in [form, basic] {
        let steps = with_secret(&stage.exchange, "post", part);
        let waiting = stage.client.invoke("trader", &json!(steps)).await?;
        clean(&waiting);
        let approval = stage.client.approval(&waiting.approvals[0]).await?;
        clean(&approval);
        let shown = &approval.rendering;
        assert!(shown.contains("\"exchange-key\""), "{shown}");
        let decided = stage
            .client
            .decide(&approval.name, Verdict::Approve)
            .await?;
        clean(&decided);
        clean(&stage.client.ended(&waiting.name).await?);
    }
    let query = json!({ "call": "http.request.secret-query", "name": "key", "secret": "s" });
    let steps = with_secret(&stage.exchange, "get", query);
    let output = stage.client.output("trader", &json!(steps)).await?;
    assert_clean("the output", output.to_string().as_bytes());
    let received = stage.exchange.received();
    assert_eq!(received.len(), 4);
    assert_eq!(
        received[0].headers["authorization"],
        format!("Bearer {VALUE}")
    );

    let client = &mut stage.client;
    clean(
        &client
            .vault
            .list_secrets(v1::ListSecretsRequest::default())
            .await?
            .into_inner(),
    );
    let list = v1::ListInvocationsRequest::default();
    clean(
        &client
            .invocations
            .list_invocations(list)
            .await?
            .into_inner(),
    );
    clean(
        &client
            .approvals
            .list_approvals(v1::ListApprovalsRequest::default())
            .await?
            .into_inner(),
    );
    let events = v1::ListEventsRequest {
        page_size: 1000,
        ..v1::ListEventsRequest::default()
    };
    let events = client.audit.list_events(events).await?.into_inner();
    assert!(events.events.iter().any(|event| event.kind == "secret_set"));
    clean(&events);
    let list = v1::ListEntriesRequest {
        parent: "spaces/notes".to_owned(),
        ..v1::ListEntriesRequest::default()
    };
    clean(&client.memory.list_entries(list).await?.into_inner());
    let view = v1::GetAgentRequest {
        name: "agents/trader".to_owned(),
        view: v1::AgentView::Full.into(),
    };
    clean(&client.agents.get_agent(view).await?.into_inner());
    clean(
        &client
            .system
            .get_status(v1::GetStatusRequest {})
            .await?
            .into_inner(),
    );
    let watch = v1::WatchInvocationRequest {
        name: read.name.clone(),
    };
    let mut watch = client
        .invocations
        .watch_invocation(watch)
        .await?
        .into_inner();
    while let Some(event) = watch.message().await? {
        clean(&event);
    }
    for arguments in [["vault", "list"], ["audit", "list"], ["approvals", "list"]] {
        let output = stage.host.nexus(&arguments)?;
        assert!(output.status.success(), "{output:?}");
        assert_clean(
            "a command's output",
            &[output.stdout, output.stderr].concat(),
        );
    }

    let status = stage.host.stop()?;
    assert!(status.success(), "{status}");
    let mut found = Vec::new();
    files(stage.directory.path(), &mut found)?;
    assert!(found.len() > 3, "{found:?}");
    let log = std::fs::read_to_string(stage.directory.path().join("log"))?;
    assert!(log.contains("TRACE"), "the host logged nothing: {log}");
    for file in found {
        assert_clean(&file.display().to_string(), &std::fs::read(&file)?);
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_goes_to_its_audience_alone_and_never_in_clear() -> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    stage.set(VALUE).await?;
    // `other` is in the manifest's audience and not in the operator's.
    let steps = with_secret(&stage.other, "get", bearer());
    assert_eq!(stage.end(&steps).await?, "forbidden");
    // `plain` has no TLS, so the secret can't even be named for it.
    let steps = with_secret(&stage.plain, "get", bearer());
    assert_eq!(stage.end(&steps[..4]).await?, "forbidden");
    // The request without it may still go.
    assert_eq!(stage.end(&steps).await?, "ok");
    let plain = stage.plain.received();
    assert_eq!(plain.len(), 1);
    assert!(!plain[0].headers.contains_key("authorization"));

    // An agent whose manifest has a narrower audience than the operator gave.
    let permissions = [
        probe::http(&stage.exchange.url()),
        probe::secret("exchange-key", &["https://elsewhere.example.com"]),
    ];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    let narrow = probe::component("narrow", &permissions);
    stage.client.deploy(&narrow).await?;
    let steps = with_secret(&stage.exchange, "get", bearer());
    let output = stage.client.output("narrow", &json!(steps)).await?;
    assert_eq!(output[5]["error"], "forbidden", "{output}");
    assert!(stage.exchange.received().is_empty() && stage.other.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_agent_that_has_learned_a_secret_cannot_send_it_by_itself() -> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    stage.set(VALUE).await?;
    for part in [
        json!({ "call": "http.request.header", "name": "x-note", "value": VALUE }),
        json!({ "call": "http.request.header", "name": "x-note", "value": hex::encode(VALUE) }),
        json!({ "call": "http.request.header", "name": "x-note", "value": STANDARD.encode(VALUE) }),
    ] {
        let mut steps = with_secret(&stage.exchange, "get", bearer());
        let mut part = part;
        part["on"] = "r".into();
        steps.insert(4, part);
        assert_eq!(stage.end(&steps).await?, "forbidden");
    }
    assert!(stage.exchange.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_secret_can_be_replaced_and_removed_and_outlives_a_restart() -> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    let steps = with_secret(&stage.exchange, "get", bearer());
    assert_eq!(
        stage.end(&steps[..1]).await?,
        "not-found",
        "before it was set"
    );
    let first = stage.set("the first value").await?;
    assert_eq!(stage.end(&steps).await?, "ok");
    let replace = |etag: &str| v1::SetSecretRequest {
        secret_id: "exchange-key".to_owned(),
        value: VALUE.to_owned(),
        audience: first.audience.clone(),
        etag: etag.to_owned(),
        ..v1::SetSecretRequest::default()
    };
    let second = stage
        .client
        .vault
        .set_secret(replace(&first.etag))
        .await?
        .into_inner();
    assert_eq!(second.version, 2);
    let stale = stage.client.vault.set_secret(replace(&first.etag)).await;
    let stale = stale.expect_err("it has changed");
    assert_eq!(
        (stale.code(), reason(&stale).as_str()),
        (Code::Aborted, "STALE_ETAG")
    );
    assert_eq!(stage.end(&steps).await?, "ok");

    stage.host = stage.host.kill_and_restart()?;
    stage.client = stage.host.operator().await?;
    assert_eq!(stage.end(&steps).await?, "ok");
    let sent: Vec<_> = stage
        .exchange
        .received()
        .iter()
        .map(|request| request.headers["authorization"].clone())
        .collect();
    let value = format!("Bearer {VALUE}");
    assert_eq!(sent, ["Bearer the first value", &value, &value]);

    let delete = |etag: &str| v1::DeleteSecretRequest {
        name: "secrets/exchange-key".to_owned(),
        etag: etag.to_owned(),
    };
    let stale = stage.client.vault.delete_secret(delete(&first.etag)).await;
    assert_eq!(stale.expect_err("it has changed").code(), Code::Aborted);
    stage
        .client
        .vault
        .delete_secret(delete(&second.etag))
        .await?;
    assert_eq!(stage.end(&steps[..1]).await?, "not-found");
    assert_eq!(stage.exchange.received().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_secret_without_a_safe_audience_is_not_taken() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let set = |id: &str, value: &str, audience: &[&str]| v1::SetSecretRequest {
        secret_id: id.to_owned(),
        value: value.to_owned(),
        audience: audience.iter().map(|&origin| origin.to_owned()).collect(),
        ..v1::SetSecretRequest::default()
    };
    let good = "https://api.example.com";
    for request in [
        set("key", VALUE, &[]),
        set("key", VALUE, &["http://api.example.com"]),
        set("key", VALUE, &[good, "http://localhost:1"]),
        set("key", VALUE, &["https://api.example.com/path"]),
        set("key", VALUE, &["*"]),
        set("No Name", VALUE, &[good]),
        set("", VALUE, &[good]),
        set("key", "", &[good]),
        set("key", &"x".repeat(1 << 20), &[good]),
    ] {
        let told = format!("{:?} {:?}", request.secret_id, request.audience);
        let refused = client.vault.set_secret(request).await.expect_err(&told);
        assert_eq!(refused.code(), Code::InvalidArgument, "{told}: {refused:?}");
        assert_clean("the refusal", format!("{refused:?}").as_bytes());
    }
    let list = client.vault.list_secrets(v1::ListSecretsRequest::default());
    assert!(list.await?.into_inner().secrets.is_empty());
    Ok(())
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_whose_certificate_is_not_trusted() -> anyhow::Result<()> {
    // Nobody told the host of this authority.
    let stranger = Authority::new()?;
    let impostor = Origin::start_tls(&stranger, mirror).await?;
    let host = Host::builder()
        .config(&format!(
            "[egress]\nprivate_origins = [{:?}]",
            impostor.url()
        ))
        .start()?;
    let mut client = host.operator().await?;
    let request = v1::SetSecretRequest {
        secret_id: "exchange-key".to_owned(),
        value: VALUE.to_owned(),
        audience: vec![impostor.url()],
        ..v1::SetSecretRequest::default()
    };
    client.vault.set_secret(request).await?;
    let permissions = [
        probe::http(&impostor.url()),
        probe::secret("exchange-key", &[&impostor.url()]),
    ];
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client
        .deploy(&probe::component("trader", &permissions))
        .await?;
    let steps = with_secret(&impostor, "get", bearer());
    let output = client.output("trader", &json!(steps)).await?;
    assert_eq!(output[5]["error"], "unavailable", "{output}");
    assert!(impostor.received().is_empty());
    Ok(())
}
