//! The binary by itself: copied into an empty directory, with a compiler and nothing else in reach,
//! and with not even that.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use http::StatusCode;
use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, Stage};
use nexus_tests::authority::Authority;
use nexus_tests::host::binary;
use nexus_tests::origin::{self, Origin};
use nexus_tests::{Client, guests};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

/// A directory with the binary in it, and the environment of someone who has just this and perhaps Rust.
struct Elsewhere {
    directory: tempfile::TempDir,
    path: String,
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Elsewhere {
    fn new() -> anyhow::Result<Self> {
        // The compiler itself, as rustup's stand-in for it would look into the home directory.
        let sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()?;
        ensure!(sysroot.status.success(), "there is no rustc");
        let sysroot = String::from_utf8(sysroot.stdout)?;
        Self::with_path(format!(
            "{}/bin:/usr/local/bin:/usr/bin:/bin",
            sysroot.trim()
        ))
    }

    /// For someone who has no compiler, nor any other program.
    fn without_compiler() -> anyhow::Result<Self> {
        Self::with_path("/nonexistent".to_owned())
    }

    fn with_path(path: String) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::copy(binary(), directory.path().join("nexus"))?;
        for empty in ["home", "cargo", "work"] {
            std::fs::create_dir(directory.path().join(empty))?;
        }
        Ok(Self { directory, path })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn nexus(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("nexus"));
        command
            .args(arguments)
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.path("home"))
            // Where the command line remembers the heads of audit trails, which no host may forget for it.
            .env("XDG_STATE_HOME", self.path("state"))
            .env("NEXUS_DATA", self.path("data"))
            .env("CARGO_HOME", self.path("cargo"))
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null());
        command
    }

    fn serve(&self, origin: &str, more: &str) -> anyhow::Result<Serving> {
        let config = self.path("work/nexus.toml");
        std::fs::write(
            &config,
            format!("[egress]\nprivate_origins = [{origin:?}]\n{more}"),
        )?;
        let mut child = self
            .nexus(&["serve", "--listen", "127.0.0.1:0", "--config", "nexus.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("stdout is piped")?;
        let serving = Serving(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line.starts_with("listening on "),
            "it did not start: {line:?}"
        );
        Ok(serving)
    }

    /// The operator's client of the host that serves here.
    async fn operator(&self) -> anyhow::Result<Client> {
        let read = |name: &str| std::fs::read_to_string(self.path("data").join(name));
        let channel = Endpoint::new(read("endpoint")?.trim().to_owned())?;
        Client::new(
            channel.connect().await?,
            Some(read("operator.token")?.trim()),
        )
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_forges_with_nothing_beside_it_and_no_registry() -> anyhow::Result<()> {
    let origin = Origin::json(json!({ "symbol": "ETH", "price": 3000.5, "venue": "x" })).await?;
    let elsewhere = Elsewhere::new()?;
    let _serving = elsewhere.serve(&origin.url(), "")?;

    let forged = elsewhere
        .nexus(&[
            "forge",
            "create",
            "eth-price",
            "fetch the price of ETH as JSON",
        ])
        .args(["--template", "http-json", "--compile"])
        .args(["--set", &format!("origin={}", origin.url())])
        .args(["--set", "path=/price"])
        .output()?;
    ensure!(
        forged.status.success(),
        "{}",
        String::from_utf8_lossy(&forged.stderr)
    );

    let answer = elsewhere.nexus(&["invoke", "eth-price"]).output()?;
    ensure!(
        answer.status.success(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let answer: Value = serde_json::from_slice(&answer.stdout)?;
    assert_eq!(answer["price"], 3000.5);
    assert_eq!(origin.received().len(), 1);
    assert!(
        is_empty(&elsewhere.path("home")),
        "nothing is left outside of the data directory and of the state of the command line"
    );
    Ok(())
}

/// Forges, and says yes where a person is asked. The last thing that was told, and what the build told.
async fn forge(
    operator: &mut Client,
    request: v1::ForgeAgentRequest,
) -> anyhow::Result<(Detail, Vec<String>)> {
    let mut events = operator.forge.forge_agent(request).await?.into_inner();
    let (mut last, mut told) = (None, Vec::new());
    while let Some(event) = events.message().await? {
        match &event.detail {
            Some(Detail::Review(review)) => {
                operator
                    .decide(&review.approval, v1::Verdict::Approve)
                    .await?;
            }
            Some(Detail::Log(line)) if event.stage() == Stage::Build => told.push(line.clone()),
            _ => {}
        }
        last = event.detail;
    }
    Ok((last.context("a forge tells how it ended")?, told))
}

/// Calls an agent, and says yes where a person is asked.
async fn call(operator: &mut Client, agent: &str, input: &Value) -> anyhow::Result<Value> {
    let invocation = operator.invoke(agent, input).await?;
    for approval in &invocation.approvals {
        operator.decide(approval, v1::Verdict::Approve).await?;
    }
    operator.result(&invocation.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_compiler_every_template_becomes_an_agent_that_answers() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let market = json!({ "symbol": "ETH", "price": 3000.5, "result": "0xde0b6b3a7640000" });
    let origin =
        Origin::start_tls(&authority, move |_| origin::json(StatusCode::OK, &market)).await?;
    let elsewhere = Elsewhere::without_compiler()?;
    let roots = format!("extra_roots = {:?}\n", authority.path());
    let _serving = elsewhere.serve(&origin.url(), &roots)?;
    let mut operator = elsewhere.operator().await?;
    let secret = v1::SetSecretRequest {
        secret_id: "my-key".to_owned(),
        value: "sesame".to_owned(),
        audience: vec![origin.url()],
        ..v1::SetSecretRequest::default()
    };
    operator.vault.set_secret(secret).await?;

    let at = ("origin", origin.url());
    let path = ("path", "/v1/items".to_owned());
    type Case = (&'static str, Vec<(&'static str, String)>, Value, Value);
    let cases: [Case; 6] = [
        (
            "blank",
            vec![],
            json!({ "name": "Anna" }),
            json!({ "greeting": "Hello, Anna!" }),
        ),
        (
            "csv-ingest",
            vec![("space", "kb-08".to_owned())],
            json!({ "csv": "a,b\n1,2\n" }),
            json!({ "rows": 1, "space": "kb-08" }),
        ),
        (
            "http-json",
            vec![
                at.clone(),
                path.clone(),
                ("fields", r#"{"usd": "/price"}"#.to_owned()),
            ],
            json!({}),
            json!({ "usd": 3000.5 }),
        ),
        (
            "http-send",
            vec![at.clone(), path, ("secret", "my-key".to_owned())],
            json!({ "body": { "a": 1 } }),
            json!({
                "status": 200,
                "response": { "symbol": "ETH", "price": 3000.5, "result": "0xde0b6b3a7640000" },
            }),
        ),
        (
            "http-write",
            vec![at.clone()],
            json!({ "action": "price", "symbol": "ETH" }),
            json!({ "symbol": "ETH", "price": 3000.5 }),
        ),
        (
            "json-rpc",
            vec![at],
            json!({ "address": "0x1" }),
            json!({ "result": "0xde0b6b3a7640000", "amount": "1.0" }),
        ),
    ];
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(guests::root().join("templates"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    folders.sort();
    let covered: Vec<&str> = cases.iter().map(|case| case.0).collect();
    assert_eq!(folders, covered, "every template is forged here");

    for (template, set, input, answer) in cases {
        let request = v1::ForgeAgentRequest {
            agent_id: format!("of-{template}"),
            template: template.to_owned(),
            set: set
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            ..v1::ForgeAgentRequest::default()
        };
        let (end, told) = forge(&mut operator, request).await?;
        ensure!(matches!(end, Detail::Published(_)), "{template}: {end:?}");
        ensure!(
            told.iter().any(|line| line.starts_with("prebuilt: ")),
            "{template}: {told:?}"
        );
        let answered = call(&mut operator, &format!("of-{template}"), &input)
            .await
            .with_context(|| template.to_owned())?;
        assert_eq!(answered, answer, "{template}");
    }

    // What has to be compiled ends with what to do about it, and nothing of it is left.
    let blank = v1::ForgeAgentRequest {
        agent_id: "compiled".to_owned(),
        template: "blank".to_owned(),
        builder: v1::ForgeBuilder::Local.into(),
        ..v1::ForgeAgentRequest::default()
    };
    let source = v1::ForgeAgentRequest {
        mode: v1::ForgeMode::Source.into(),
        template: String::new(),
        source: "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(n: u32) -> Result<u32> { Ok(n) }\n"
            .to_owned(),
        manifest: "format = 1\nname = \"compiled\"\nversion = \"0.1.0\"\nsummary = \"s\"\ninput = {}\n"
            .to_owned(),
        ..blank.clone()
    };
    for request in [blank, source] {
        let (end, _) = forge(&mut operator, request).await?;
        let Detail::Failure(why) = &end else {
            anyhow::bail!("{end:?}")
        };
        ensure!(
            why.contains("rustc") && why.contains("https://rustup.rs"),
            "{why}"
        );
    }
    let jobs = elsewhere.path("data/forge/jobs");
    assert!(!jobs.exists() || is_empty(&jobs));

    // `nexus doctor` fails over nothing here.
    let doctor = elsewhere.nexus(&["doctor", "--output", "json"]).output()?;
    ensure!(
        doctor.status.success(),
        "{}",
        String::from_utf8_lossy(&doctor.stdout)
    );
    let doctor: Value = serde_json::from_slice(&doctor.stdout)?;
    let compiler = doctor["checks"]
        .as_array()
        .and_then(|checks| checks.iter().find(|check| check["part"] == "compiler"))
        .context("it looks for a compiler")?;
    assert_eq!(compiler["state"], "missing");
    let message = compiler["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("templates are forged without one"),
        "{message}"
    );
    Ok(())
}
