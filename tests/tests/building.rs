//! A host that compiles for another one: what it builds is proved like a local build, it is asked only
//! where somebody said so, and whatever lies is refused.

use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use nexus_manifest::Digest;
use nexus_proto::v1;
use nexus_proto::v1::build_component_response::Event;
use nexus_proto::v1::forge_event::{Detail, Stage};
use nexus_tests::client::reason;
use nexus_tests::host::HostBuilder;
use nexus_tests::origin::{self, Answer, Origin};
use nexus_tests::{Client, Host, guests};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SOURCE: &str = "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> { Ok(json!({ \"new\": input })) }\n";
const WHO: &str = "the-other-host";

fn manifest(name: &str) -> String {
    format!("format = 1\nname = \"{name}\"\nversion = \"0.2.0\"\nsummary = \"s\"\ninput = {{}}\n")
}

fn forging(name: &str, builder: v1::ForgeBuilder) -> v1::ForgeAgentRequest {
    v1::ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: SOURCE.to_owned(),
        manifest: manifest(name),
        builder: builder.into(),
        ..v1::ForgeAgentRequest::default()
    }
}

/// A host that has no compiler and this one to build for it.
fn asking(url: &str, token: &Path, more: &str) -> HostBuilder {
    Host::builder().config(&format!(
        "[forge]\nprecompile_templates = false\nrustc = \"/nonexistent/rustc\"\n\
         [forge.remote]\nurl = {url:?}\ntoken_file = {token:?}\n{more}"
    ))
}

fn token_file(directory: &TempDir, token: &str) -> anyhow::Result<std::path::PathBuf> {
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{token}\n"))?;
    Ok(file)
}

/// A token of the building host, for another one.
async fn token(host: &Host, role: v1::Role) -> anyhow::Result<String> {
    let request = v1::CreateTokenRequest {
        principal: WHO.to_owned(),
        role: role.into(),
        ..v1::CreateTokenRequest::default()
    };
    let mut operator = host.operator().await?;
    Ok(operator
        .system
        .create_token(request)
        .await?
        .into_inner()
        .secret)
}

/// The last thing that a forge tells, and the stage it is about.
async fn forge(
    client: &mut Client,
    request: v1::ForgeAgentRequest,
) -> anyhow::Result<(Stage, Detail)> {
    let mut events = client.forge.forge_agent(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        last = Some((event.stage(), event.detail));
    }
    let (stage, detail) = last.context("a forge tells something")?;
    Ok((stage, detail.context("and at last how it ended")?))
}

/// What the building host has in its trail of those that had it build.
async fn builds(host: &Host) -> anyhow::Result<Vec<v1::Event>> {
    let mut operator = host.operator().await?;
    let page = operator
        .audit
        .list_events(v1::ListEventsRequest {
            page_size: 1000,
            ..v1::ListEventsRequest::default()
        })
        .await?;
    let events = page.into_inner().events.into_iter();
    Ok(events
        .filter(|event| event.detail.contains("BuildService"))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_builds_and_what_comes_back_is_an_agent_like_any() -> anyhow::Result<()> {
    let builder = Host::start()?;
    let directory = tempfile::tempdir()?;
    let token = token_file(&directory, &token(&builder, v1::Role::Forger).await?)?;
    let asking = asking(builder.endpoint(), &token, "").start()?;
    let mut operator = asking.operator().await?;

    let request = forging("far", v1::ForgeBuilder::Remote);
    let (_, end) = forge(&mut operator, request.clone()).await?;
    let Detail::Published(agent) = end else {
        anyhow::bail!("{end:?}")
    };
    let answer = operator.output("far", &json!(7)).await?;
    assert_eq!(answer, json!({ "new": 7 }));
    let full = v1::GetAgentRequest {
        name: agent.name,
        view: v1::AgentView::Full.into(),
    };
    let full = operator.agents.get_agent(full).await?.into_inner();
    let lineage = full.lineage.context("a lineage")?;
    assert_eq!(lineage.builder(), v1::ForgeBuilder::Remote);
    assert_eq!(lineage.build_host, builder.endpoint());
    assert_eq!(lineage.source, SOURCE);
    assert!(lineage.toolchain.starts_with("rustc "), "{lineage:?}");

    // The compiler's findings come back as findings.
    let broken = v1::ForgeAgentRequest {
        source: SOURCE.replace("Ok(json", "Ok(jason"),
        ..request
    };
    let (stage, end) = forge(&mut operator, broken).await?;
    let Detail::Diagnostics(found) = end else {
        anyhow::bail!("{end:?}")
    };
    assert_eq!(stage, Stage::Build);
    assert_eq!(
        found.diagnostics[0].severity(),
        v1::diagnostic::Severity::Error
    );
    assert_eq!(found.diagnostics[0].line, 3);

    // The building host has noted who had it build, and has kept nothing of it.
    let trail = builds(&builder).await?;
    assert_eq!(trail.len(), 2, "{trail:?}");
    assert!(
        trail.iter().all(|event| event.principal == WHO),
        "{trail:?}"
    );
    let mut there = builder.operator().await?;
    let agents = there
        .agents
        .list_agents(v1::ListAgentsRequest::default())
        .await?;
    assert!(agents.into_inner().agents.is_empty());
    let forged = v1::ListForgedAgentsRequest::default();
    let forged = there.forge.list_forged_agents(forged).await?.into_inner();
    assert!(forged.forged_agents.is_empty());
    let jobs = std::fs::read_dir(builder.data.join("forge/jobs"))?;
    assert_eq!(jobs.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_another_host_unless_somebody_said_so() -> anyhow::Result<()> {
    let builder = Host::start()?;
    let directory = tempfile::tempdir()?;
    let token = token_file(&directory, &token(&builder, v1::Role::Forger).await?)?;
    let quiet = asking(builder.endpoint(), &token, "").start()?;
    let mut operator = quiet.operator().await?;
    // There is no compiler here, and that is the answer.
    for by in [v1::ForgeBuilder::Unspecified, v1::ForgeBuilder::Local] {
        let (stage, end) = forge(&mut operator, forging("near", by)).await?;
        assert_eq!(stage, Stage::Build);
        let Detail::Failure(why) = end else {
            anyhow::bail!("{end:?}")
        };
        ensure!(why.contains("/nonexistent/rustc"), "{why}");
    }
    assert!(builds(&builder).await?.is_empty());

    let always = asking(builder.endpoint(), &token, "always = true").start()?;
    let mut operator = always.operator().await?;
    let (_, end) = forge(&mut operator, forging("far", v1::ForgeBuilder::Unspecified)).await?;
    ensure!(matches!(end, Detail::Published(_)), "{end:?}");
    assert_eq!(builds(&builder).await?.len(), 1);
    // What is asked for by name comes first.
    let (_, end) = forge(&mut operator, forging("near", v1::ForgeBuilder::Local)).await?;
    ensure!(matches!(end, Detail::Failure(_)), "{end:?}");
    assert_eq!(builds(&builder).await?.len(), 1);

    let alone = Host::start()?;
    let mut operator = alone.operator().await?;
    let (_, end) = forge(&mut operator, forging("far", v1::ForgeBuilder::Remote)).await?;
    let Detail::Failure(why) = end else {
        anyhow::bail!("{end:?}")
    };
    ensure!(why.contains("[forge.remote]"), "{why}");
    Ok(())
}

fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

/// A component as a building host sends it, announced as `digest`.
fn component(bytes: &[u8], digest: &Digest) -> String {
    let head = json!({ "component": {
        "componentDigest": digest.to_string(),
        "sizeBytes": bytes.len().to_string(),
        "toolchain": "rustc 1.95.0",
    } });
    let mut text = event(&head);
    for chunk in bytes.chunks(100_000) {
        text.push_str(&event(&json!({ "chunk": STANDARD.encode(chunk) })));
    }
    text
}

fn stream(text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let value = http::HeaderValue::from_static("text/event-stream");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, value);
    response
}

const END: &str = "event: end\ndata: {}\n\n";

type Say = Box<dyn Fn() -> Answer + Send + Sync>;

/// What a host answers that is not to be believed, and what is said of it.
fn lies() -> Vec<(&'static str, Say, &'static str)> {
    let honest = guests::with_manifest("echo", &manifest("far"));
    // It imports much that the manifest does not ask for.
    let powerful = guests::with_manifest("probe", &manifest("far"));
    let renamed = guests::with_manifest("echo", &manifest("other"));
    let digest = Digest::of(&honest);
    let whole = component(&honest, &digest);
    let say = |text: String| -> Say { Box::new(move || stream(text.clone())) };
    let status = |status: StatusCode| -> Say {
        Box::new(move || origin::json(status, &json!({ "code": 7, "message": "not for you" })))
    };
    let cut = whole[..whole.len() / 2].to_owned();
    let head = |size: &str| {
        event(&json!({ "component": { "componentDigest": digest.to_string(), "sizeBytes": size } }))
    };
    vec![
        (
            "another digest",
            say(component(&honest, &Digest::of(b"x")) + END),
            "announced",
        ),
        (
            "more imports",
            say(component(&powerful, &Digest::of(&powerful)) + END),
            "nexus:agent/",
        ),
        (
            "another manifest",
            say(component(&renamed, &Digest::of(&renamed)) + END),
            "does not carry the manifest that was sent",
        ),
        (
            "no component at all",
            say(event(&json!({ "log": "done" })) + END),
            "no component",
        ),
        ("half an answer", say(cut), "cut off"),
        ("no end", say(whole.clone()), "cut off"),
        (
            "a second component",
            say(whole.clone() + &whole + END),
            "twice",
        ),
        (
            "more than announced",
            say(head("10") + &event(&json!({ "chunk": STANDARD.encode([0; 11]) })) + END),
            "more than it announced",
        ),
        (
            "less than announced",
            say(head("10") + &event(&json!({ "chunk": STANDARD.encode([0; 9]) })) + END),
            "less than it announced",
        ),
        ("too large", say(head("33554433") + END), "too large"),
        ("not a number", say(head("many") + END), "too large"),
        (
            "chunks before all else",
            say(event(&json!({ "chunk": "AAAA" })) + END),
            "more than it announced",
        ),
        (
            "no base64",
            say(head("10") + &event(&json!({ "chunk": "!" }))),
            "does not answer as one",
        ),
        (
            "no JSON",
            say("data: hello\n\n".to_owned()),
            "does not answer as one",
        ),
        ("a page", say("<html>hello</html>".to_owned()), "cut off"),
        ("nothing", say(String::new()), "cut off"),
        (
            "an error",
            say("event: error\ndata: {\"code\": 9, \"message\": \"no compiler\"}\n\n".to_owned()),
            "status 9: no compiler",
        ),
        (
            "not its role",
            status(StatusCode::FORBIDDEN),
            "status 403: not for you",
        ),
        ("elsewhere", status(StatusCode::FOUND), "status 302"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_building_host_that_lies_is_refused_and_nothing_of_it_is_left() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let token = token_file(&directory, "secret-of-the-other-host")?;
    let lies = std::sync::Arc::new(lies());
    let (next, told) = (std::sync::atomic::AtomicUsize::new(0), lies.clone());
    let liar = Origin::start(move |_| {
        let place = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (told[place].1)()
    })
    .await?;
    let asking = asking(&liar.url(), &token, "always = true").start()?;
    let mut operator = asking.operator().await?;
    for (name, _, expected) in lies.iter() {
        let request = forging("far", v1::ForgeBuilder::Unspecified);
        let (_, end) = forge(&mut operator, request).await?;
        let said = match &end {
            Detail::Failure(why) => why.clone(),
            Detail::Diagnostics(found) => found
                .diagnostics
                .iter()
                .map(|found| found.message.clone())
                .collect(),
            other => anyhow::bail!("{name}: {other:?}"),
        };
        ensure!(said.contains(expected), "{name}: {said}");
    }
    // It was asked as a building host is, with the token, and only with what is to be built.
    let received = liar.received();
    assert_eq!(received.len(), lies.len());
    let (first, body) = (
        &received[0],
        serde_json::from_slice::<Value>(&received[0].body)?,
    );
    assert_eq!(first.target, "/v1/components:build");
    assert_eq!(
        first.headers["authorization"],
        "Bearer secret-of-the-other-host"
    );
    assert_eq!(
        body,
        json!({ "source": SOURCE, "manifest": manifest("far") })
    );
    let agents = operator
        .agents
        .list_agents(v1::ListAgentsRequest::default())
        .await?;
    assert!(agents.into_inner().agents.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_ends() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let line = event(&json!({ "log": "x".repeat(10_000) })).repeat(10);
            while stream.write_all(line.as_bytes()).await.is_ok() {}
        }
    });
    let directory = tempfile::tempdir()?;
    let token = token_file(&directory, "t")?;
    let asking = asking(&url, &token, "always = true").start()?;
    let mut operator = asking.operator().await?;
    let (_, end) = forge(&mut operator, forging("far", v1::ForgeBuilder::Unspecified)).await?;
    let Detail::Failure(why) = end else {
        anyhow::bail!("{end:?}")
    };
    ensure!(why.contains("sent too much"), "{why}");
    Ok(())
}

async fn build(
    client: &mut Client,
    source: &str,
    manifest: &str,
) -> Result<Vec<Event>, tonic::Status> {
    let request = v1::BuildComponentRequest {
        source: source.to_owned(),
        manifest: manifest.to_owned(),
    };
    let mut stream = client.build.build_component(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(message) = stream.message().await? {
        events.extend(message.event);
    }
    Ok(events)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_the_component_alone_gets_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("lib.rs"), SOURCE)?;
    std::fs::write(path("agent.toml"), manifest("mine"))?;
    let (source, toml, out) = (path("lib.rs"), path("agent.toml"), path("mine.wasm"));
    let arguments = |source| {
        vec![
            "forge",
            "build",
            "--source",
            source,
            "--manifest",
            &toml,
            "--out",
            &out,
        ]
    };
    let built = host.nexus(&arguments(&source))?;
    ensure!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let component = std::fs::read(&out)?;
    let mut operator = host.operator().await?;
    operator.deploy(&component).await?;
    assert_eq!(
        operator.output("mine", &json!(1)).await?,
        json!({ "new": 1 })
    );

    std::fs::write(path("broken.rs"), "no source")?;
    let broken = path("broken.rs");
    let refused = host.nexus(&arguments(&broken))?;
    assert_eq!(refused.status.code(), Some(10));
    ensure!(
        String::from_utf8_lossy(&refused.stdout).contains("error"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&out)?, component, "what was there is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_cannot_be_has_its_reason_and_too_many_are_held_up() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[forge]\nprecompile_templates = false\nrustc = \"/nonexistent/rustc\"")
        .start()?;
    let mut client = host.client(WHO, v1::Role::Forger).await?;
    let large = "/".repeat(300_000);
    let cases = [
        ("", manifest("near"), "INVALID_FIELD"),
        (SOURCE, String::new(), "INVALID_FIELD"),
        (large.as_str(), manifest("near"), "INVALID_FIELD"),
        (SOURCE, "no manifest".to_owned(), "INVALID_MANIFEST"),
        (SOURCE, manifest("near"), "NO_COMPILER"),
    ];
    for (source, manifest, expected) in cases {
        let refused = build(&mut client, source, &manifest).await;
        let refused = refused.err().context("it can't be built")?;
        assert_eq!(reason(&refused), expected, "{refused:?}");
    }
    for _ in 0..1_000 {
        let refused = build(&mut client, SOURCE, "no manifest").await;
        let refused = refused.err().context("it can't be built")?;
        if reason(&refused) == "RATE_LIMITED" {
            return Ok(());
        }
        assert_eq!(reason(&refused), "INVALID_MANIFEST");
    }
    anyhow::bail!("a thousand builds were let through")
}
