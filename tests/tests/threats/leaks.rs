//! T23: forty secrets in six encodings, used in every place of a request, told back by the far side,
//! and handed on by an agent that knows them: no byte of them leaves the host but towards their
//! audience.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::{HeaderValue, StatusCode};
use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_tests::origin::{Answer, Origin, Received, json as answer};
use nexus_tests::{Authority, Client, Host, guests, probe};
use serde_json::{Value, json};

const SECRETS: usize = 40;
const ENCODINGS: usize = 6;

/// Long and odd enough to stand nowhere by chance.
fn canary(number: usize) -> String {
    let odd = ["+/=", "&? ", "\"\\%", "'<>"][number % 4];
    format!("cAn{number:02}aryQz{odd}w7Xk{:08x}Vt", number * 0x0100_0193)
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()
}

/// The canary in one of the six encodings, in the pieces that are told one after the other. JSON
/// escapes are in the text as a document would hold them.
fn encoded(number: usize, encoding: usize) -> Vec<String> {
    let value = canary(number);
    match encoding {
        0 => vec![value],
        1 => vec![STANDARD.encode(format!("{}{value}", &"xy"[..number % 3]))],
        2 if number.is_multiple_of(2) => vec![hex::encode(value)],
        2 => vec![hex::encode_upper(value)],
        3 => vec![percent(&value)],
        4 => vec![escaped(&value)],
        _ => vec![value[..14].to_owned(), value[14..].to_owned()],
    }
}

/// What must stand nowhere: every encoding, and each half.
fn needles() -> Vec<String> {
    let mut needles = Vec::new();
    for number in 0..SECRETS {
        let value = canary(number);
        needles.extend((0..ENCODINGS).flat_map(|encoding| encoded(number, encoding)));
        needles.extend([hex::encode(&value), hex::encode_upper(&value)]);
        needles.push(percent(&value).to_lowercase());
        needles.push(json!(value).to_string().trim_matches('"').to_owned());
        for before in ["", "x", "xy"] {
            let text = format!("{before}{value}");
            for text in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                // Without what depends on the neighbours.
                needles.push(text[4..text.len() - 4].to_owned());
            }
        }
    }
    needles.sort();
    needles.dedup();
    needles
}

struct Search(Vec<String>);

impl Search {
    #[track_caller]
    fn clean(&self, what: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for needle in &self.0 {
            assert!(!text.contains(needle.as_str()), "{what} holds {needle}");
        }
    }

    #[track_caller]
    fn message(&self, message: &(impl prost::Message + Debug)) {
        self.clean("an answer", &message.encode_to_vec());
        self.clean("an answer", format!("{message:?}").as_bytes());
    }
}

/// Tells the secret of `/NUMBER/ENCODING` back, in headers and body.
fn tell(received: &Received) -> Answer {
    let path = received.target.split('?').next().unwrap_or_default();
    let mut words = path
        .split('/')
        .skip(1)
        .map(|word| word.parse().unwrap_or(0));
    let (number, encoding) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    let pieces = encoded(number, encoding);
    let fields: Vec<String> = pieces
        .iter()
        .enumerate()
        // JSON escapes are written as they are; what else is odd is escaped as JSON wants it.
        .map(|(at, piece)| match encoding {
            4 => format!("\"f{at}\": \"<{piece}>\""),
            5 => format!("\"z{}\": {}", pieces.len() - at, json!(piece)),
            _ => format!("\"f{at}\": {}", json!(format!("<{piece}>"))),
        })
        .collect();
    let mut response = answer(StatusCode::OK, &Value::Null);
    *response.body_mut() = bytes::Bytes::from(format!("{{{}}}", fields.join(", "))).into();
    for (at, piece) in pieces.iter().enumerate() {
        let name = http::HeaderName::from_bytes(format!("x-told-{at}").as_bytes());
        let value = HeaderValue::from_str(piece);
        response
            .headers_mut()
            .insert(name.expect("a name"), value.expect("a value"));
    }
    response
}

/// The part of a request that has the secret `s` put in.
fn placed(number: usize) -> Value {
    match number % 6 {
        0 => {
            json!({ "call": "http.request.secret-header", "name": "authorization", "format": "Bearer {}" })
        }
        1 => json!({ "call": "http.request.secret-query", "name": "key" }),
        2 => json!({ "call": "http.request.secret-basic", "name": "anna" }),
        3 => json!({ "call": "http.request.secret-form", "name": "key" }),
        4 => {
            json!({ "call": "http.request.signature-header", "name": "x-sign", "value": "message", "encoding": "hex" })
        }
        _ => {
            json!({ "call": "http.request.signature-query", "name": "sign", "value": "message", "encoding": "base64" })
        }
    }
}

struct Stage {
    host: Host,
    client: Client,
    exchange: Origin,
    plain: Origin,
    _authority: Authority,
    directory: tempfile::TempDir,
}

async fn stage() -> anyhow::Result<Stage> {
    let authority = Authority::new()?;
    let exchange = Origin::start_tls(&authority, tell).await?;
    let plain = Origin::json(json!({})).await?;
    let directory = tempfile::tempdir()?;
    let policy = directory.path().join("policy.cedar");
    // A person is asked about what is posted, and about nothing else.
    std::fs::write(
        &policy,
        "@id(\"posts-ask\") permit (principal, action, resource) when { context.approvals >= 1 || context.verb != \"POST\" };",
    )?;
    let log = directory.path().join("log").display().to_string();
    let logging = format!(r#"NEXUS_LOG=trace exec "$@" 2>>"{log}""#);
    let host = Host::builder()
        .data(&directory.path().join("data"))
        .through(&["sh", "-c", &logging, "sh"])
        .config(&format!(
            "[egress]\nprivate_origins = [{:?}, {:?}]\nextra_roots = {:?}\n[approvals]\npolicy = {policy:?}",
            exchange.url(),
            plain.url(),
            authority.path(),
        ))
        .start()?;
    let mut client = host.operator().await?;
    let mut permissions = vec![
        probe::http(&exchange.url()),
        probe::http(&plain.url()),
        probe::memory("notes"),
        probe::peer("callee"),
    ];
    for number in 0..SECRETS {
        let request = v1::SetSecretRequest {
            secret_id: format!("canary-{number}"),
            value: canary(number),
            audience: vec![exchange.url()],
            ..v1::SetSecretRequest::default()
        };
        client.vault.set_secret(request).await?;
        permissions.push(probe::secret(
            &format!("canary-{number}"),
            &[&exchange.url()],
        ));
    }
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    client.deploy(&guests::component("callee")).await?;
    client
        .deploy(&probe::component("trader", &permissions))
        .await?;
    Ok(Stage {
        host,
        client,
        exchange,
        plain,
        _authority: authority,
        directory,
    })
}

/// Uses the secret, and then hands it on in every way there is.
fn steps(stage: &Stage, number: usize, encoding: usize) -> Vec<Value> {
    let mut steps =
        vec![json!({ "call": "vault.secret.open", "name": format!("canary-{number}"), "as": "s" })];
    let mut part = placed(number);
    part["secret"] = "s".into();
    let form = number % 6 == 3;
    let method = if form { "put" } else { "get" };
    let target = format!("/{number}/{encoding}");
    let exchange = stage.exchange.url();
    steps.extend(probe::exchange(&exchange, method, &target, &[part]));

    let pieces = encoded(number, encoding);
    let whole = pieces.concat();
    // As the fields of a document: escapes stand in it as they are.
    let document = match encoding {
        4 => format!("{{\"a\": \"{whole}\"}}"),
        _ => json!(pieces).to_string(),
    };
    steps.extend([
        json!({ "call": "log.write", "level": "info", "value": format!("I know {whole}!") }),
        json!({ "call": "log.progress", "fraction": 0.5, "value": format!("at {whole}") }),
        json!({ "call": "memory.space.open", "name": "notes", "access": "read-write", "as": "m" }),
        json!({ "call": "memory.space.put", "on": "m", "key": "k", "value": document }),
        json!({ "call": "bus.peer.find", "name": "callee", "as": "b" }),
        json!({ "call": "bus.peer.call", "on": "b", "input": { "do": "greet", "name": whole }, "as": "c" }),
        json!({ "call": "bus.pending.wait", "on": "c" }),
    ]);
    // To an origin outside the audience: in headers, which hold no line ends and no odd characters of
    // ours, and in the body of what a person would be asked about.
    let headers = pieces.iter().enumerate().map(|(at, piece)| {
        json!({ "call": "http.request.header", "name": format!("x-h{at}"), "value": piece })
    });
    let plain = stage.plain.url();
    steps.extend(probe::sending(
        "h",
        &plain,
        "get",
        "/",
        &headers.collect::<Vec<_>>(),
    ));
    steps.push(probe::waiting("h"));
    let body = json!({ "call": "http.request.body", "value": document });
    steps.extend(probe::sending("b", &plain, "post", "/", &[body]));
    steps.push(probe::waiting("b"));
    let query = format!("/?a={}", percent(&whole));
    steps.extend(probe::sending("q", &plain, "get", &query, &[]));
    steps.push(probe::waiting("q"));
    steps
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
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
async fn t23_forty_canaries_in_six_encodings_leave_the_host_nowhere() -> anyhow::Result<()> {
    let mut stage = stage().await?;
    let search = Search(needles());
    let mut told = 0;
    for number in 0..SECRETS {
        for encoding in 0..ENCODINGS {
            let mut all = steps(&stage, number, encoding);
            // Every third ends in the agent's own failure, with the secret in its words.
            let fails = number % 3 == 0;
            if fails {
                let value = format!("lost {}", encoded(number, encoding).concat());
                all.push(json!({ "call": "fail", "name": "lost", "value": value }));
            }
            let invocation = stage.client.invoke("trader", &json!(all)).await?;
            search.message(&invocation);
            anyhow::ensure!(
                invocation.approvals.is_empty(),
                "nobody is asked: {invocation:?}"
            );
            match &invocation.outcome {
                Some(v1::invocation::Outcome::Success(success)) if !fails => {
                    let answers: Vec<Value> = serde_json::from_str(&success.output)?;
                    // What the far side told is there, without the secret.
                    let response = answers[5]["ok"].to_string();
                    assert!(response.contains("[secret:canary-"), "{response}");
                    let refused = answers[6..]
                        .iter()
                        .filter(|answer| answer["error"] == "forbidden");
                    // Memory, the peer, and three requests.
                    assert_eq!(refused.count(), 5, "{number}/{encoding}: {answers:?}");
                    told += 1;
                }
                Some(v1::invocation::Outcome::Failure(failure)) if fails => {
                    assert_eq!(failure.code, "lost");
                    assert!(failure.message.contains("[secret:canary-"), "{failure:?}");
                }
                other => anyhow::bail!("{number}/{encoding}: {other:?}"),
            }
            let watch = v1::WatchInvocationRequest {
                name: invocation.name.clone(),
            };
            let watch = stage.client.invocations.watch_invocation(watch).await?;
            let mut watch = watch.into_inner();
            let mut events = String::new();
            while let Some(event) = watch.message().await? {
                search.message(&event);
                events.push_str(&format!("{event:?}"));
            }
            assert!(events.contains("[secret:canary-"), "{events}");
        }
    }
    assert_eq!(told, (SECRETS - SECRETS.div_ceil(3)) * ENCODINGS);

    // A person is asked about a request with a secret in it, and sees its name.
    let part = json!({ "call": "http.request.secret-form", "name": "key", "secret": "s" });
    let mut asked = vec![json!({ "call": "vault.secret.open", "name": "canary-0", "as": "s" })];
    asked.extend(probe::exchange(
        &stage.exchange.url(),
        "post",
        "/0/0",
        &[part],
    ));
    let waiting = stage.client.invoke("trader", &json!(asked)).await?;
    search.message(&waiting);
    let approval = stage.client.approval(&waiting.approvals[0]).await?;
    search.message(&approval);
    assert!(approval.rendering.contains("canary-0"));
    let client = &mut stage.client;
    search.message(&client.decide(&approval.name, Verdict::Approve).await?);
    search.message(&client.ended(&waiting.name).await?);

    // Everything else that tells what happened.
    let list = v1::ListInvocationsRequest {
        page_size: 1000,
        ..v1::ListInvocationsRequest::default()
    };
    search.message(
        &client
            .invocations
            .list_invocations(list)
            .await?
            .into_inner(),
    );
    let list = v1::ListApprovalsRequest::default();
    search.message(&client.approvals.list_approvals(list).await?.into_inner());
    let list = v1::ListSecretsRequest::default();
    search.message(&client.vault.list_secrets(list).await?.into_inner());
    let mut list = v1::ListEventsRequest {
        page_size: 1000,
        ..v1::ListEventsRequest::default()
    };
    let mut events = 0;
    loop {
        let page = client.audit.list_events(list.clone()).await?.into_inner();
        search.message(&page);
        events += page.events.len();
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert!(events > SECRETS * ENCODINGS, "{events}");
    let list = v1::ListEntriesRequest {
        parent: "spaces/notes".to_owned(),
        ..v1::ListEntriesRequest::default()
    };
    let entries = client.memory.list_entries(list).await?.into_inner();
    assert!(entries.entries.is_empty(), "{entries:?}");
    assert_eq!(stage.exchange.received().len(), SECRETS * ENCODINGS + 1);
    assert!(stage.plain.received().is_empty());

    let status = stage.host.stop()?;
    assert!(status.success(), "{status}");
    let mut found = Vec::new();
    files(stage.directory.path(), &mut found)?;
    let log = std::fs::read_to_string(stage.directory.path().join("log"))?;
    assert!(log.contains("TRACE"), "the host logged nothing");
    for file in found {
        search.clean(&file.display().to_string(), &std::fs::read(&file)?);
    }
    Ok(())
}
