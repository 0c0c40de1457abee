//! Endpoints that misbehave: each ends in its own error, within what a forge may use.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_audit::{Audit, SigningKey};
use nexus_effects::operator_egress::OperatorOptions;
use nexus_forge::ModelConfig;
use nexus_forge::model::{Bound, Bounds, Client, Error, Key, Message, Price, Profile, Spend, Used};
use nexus_store::{RedbStore, Store};
use nexus_vault::{MasterKey, Vault};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "key-0815-long-enough";

/// What an endpoint does with one connection, once it has the request.
#[derive(Clone)]
enum Does {
    /// Sends this and closes.
    Says(String),
    /// Sends this, and then nothing.
    Holds(String),
    /// Sends the first, and then the second for ever.
    Repeats(String, String),
}
use Does::{Holds, Repeats, Says};

fn events(events: &[&str]) -> Does {
    let events: String = events
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect();
    Says(format!("{HEAD}{events}"))
}

fn status(line: &str, headers: &str, body: &str) -> Does {
    Says(format!(
        "HTTP/1.1 {line}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const PIECE: &str = r#"{"choices":[{"delta":{"content":"hello"}}]}"#;
const THOUGHT: &str =
    r#"{"choices":[{"delta":{"reasoning_content":"let me think about that once more"}}]}"#;
const END: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#;

/// Plays its script, one entry for each connection and the last for all that follow.
async fn endpoint(script: Vec<Does>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let at = counted.fetch_add(1, Ordering::SeqCst);
            let does = script[at.min(script.len() - 1)].clone();
            tokio::spawn(play(stream, does));
        }
    });
    (format!("http://127.0.0.1:{port}/v1"), count)
}

async fn play(mut stream: TcpStream, does: Does) -> std::io::Result<()> {
    let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
    // The question is small, and its last byte closes its JSON.
    while !asked.ends_with(b"}") {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        asked.extend_from_slice(&piece[..read]);
    }
    match does {
        Says(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
        Holds(text) => {
            stream.write_all(text.as_bytes()).await?;
            pending().await
        }
        Repeats(head, piece) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(piece.as_bytes()).await?;
            }
        }
    }
}

async fn vault(directory: &TempDir) -> Vault {
    let path = directory.path();
    let store: Arc<dyn Store> = RedbStore::open(path, nexus_store::Options::default()).unwrap();
    let key = SigningKey::load_or_create(path.join("audit.key")).unwrap();
    let audit = Audit::open(store.clone(), key).await.unwrap();
    let master = MasterKey::load_or_create(path.join("vault.key")).unwrap();
    Vault::open(store, audit, master).await.unwrap()
}

fn config(base_url: &str) -> ModelConfig {
    let short = Duration::from_secs(2);
    let profile = Profile {
        key: Some(Key::Value(KEY.into())),
        answer_tokens: 1_000,
        price: Price {
            input: 1.0,
            output: 2.0,
        },
        ..Profile::new(base_url, "scripted")
    };
    let config = ModelConfig::new(profile);
    ModelConfig {
        patience: OperatorOptions {
            first_byte_timeout: short,
            idle_timeout: short,
            total_timeout: Duration::from_secs(20),
            max_bytes: 64 * 1024,
            ..config.patience
        },
        backoff: Duration::from_millis(1),
        bounds: Bounds {
            time: Duration::from_secs(30),
            ..Bounds::default()
        },
        ..config
    }
}

struct Asked {
    answer: Result<String, Error>,
    used: Used,
    requests: usize,
}

/// Has an endpoint asked once.
async fn ask(vault: &Vault, script: Vec<Does>, change: impl FnOnce(&mut ModelConfig)) -> Asked {
    let (base_url, count) = endpoint(script).await;
    let mut config = config(&base_url);
    change(&mut config);
    let client = Client::new(&config.code, &config, vault).unwrap();
    let spend = Spend::new(config.bounds);
    let messages = [Message::new("user", "say hello")];
    let began = Instant::now();
    let answer = client.complete(&messages, &spend, |_| {}).await;
    assert!(
        began.elapsed() < config.bounds.time + Duration::from_secs(5),
        "the bound on time holds"
    );
    Asked {
        answer,
        used: spend.used(),
        requests: count.load(Ordering::SeqCst),
    }
}

fn nothing(_: &mut ModelConfig) {}

#[tokio::test]
async fn whatever_an_endpoint_does_ends_in_its_own_error_within_the_bounds() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory).await;
    let long = "x".repeat(4_000);
    let much = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n");
    let echo = format!("{{\"error\":\"no such key: {KEY}\"}}");
    let chunk = format!("{CHUNKED}{:x}\r\ndata: {PIECE}\n\n\r\n", PIECE.len() + 8);
    type Fits = fn(&Error) -> bool;
    let rows: Vec<(&str, Does, Fits, usize)> = vec![
        (
            "no head",
            Holds(String::new()),
            |e| matches!(e, Error::Silent(_)),
            1,
        ),
        (
            "a head and nothing else",
            Holds(HEAD.to_owned()),
            |e| matches!(e, Error::Silent(_)),
            1,
        ),
        (
            "silence in the middle",
            Holds(format!("{HEAD}data: {PIECE}\n\n")),
            |e| matches!(e, Error::Silent(_)),
            1,
        ),
        (
            "no HTTP",
            Says("SSH-2.0-hello\r\n".to_owned()),
            |e| matches!(e, Error::Unreachable(_)),
            1,
        ),
        (
            "closed at once",
            Says(String::new()),
            |e| matches!(e, Error::Unreachable(_)),
            1,
        ),
        (
            "busy for an hour",
            status(
                "429 Too Many Requests",
                "retry-after: 3600\r\n",
                "slow down",
            ),
            |e| matches!(e, Error::Busy { after: Some(after), .. } if after.as_secs() == 3600),
            1,
        ),
        (
            "busy for years",
            status(
                "429 Too Many Requests",
                "retry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\n",
                "",
            ),
            |e| matches!(e, Error::Busy { after: Some(_), .. }),
            1,
        ),
        (
            "busy for ever",
            status("429 Too Many Requests", "", "slow down"),
            |e| matches!(e, Error::Busy { after: None, .. }),
            4,
        ),
        (
            "broken",
            status("503 Service Unavailable", "", "later"),
            |e| matches!(e, Error::Refused { status: 503, .. }),
            4,
        ),
        (
            "not allowed, with the key in its words",
            status("401 Unauthorized", "", &echo),
            |e| matches!(e, Error::Refused { status: 401, message } if message.contains("no such key")),
            1,
        ),
        (
            "elsewhere",
            status("302 Found", "location: http://localhost:1/\r\n", ""),
            |e| matches!(e, Error::Refused { status: 302, .. }),
            1,
        ),
        (
            "cut in a chunk",
            Says(chunk),
            |e| matches!(e, Error::Cut(_)),
            4,
        ),
        (
            "cut without a word",
            events(&[PIECE]),
            |e| matches!(e, Error::Cut(_)),
            4,
        ),
        (
            "garbage",
            events(&["<html>"]),
            |e| matches!(e, Error::Stream(_)),
            1,
        ),
        (
            "garbage of JSON",
            events(&["[1, 2]"]),
            |e| matches!(e, Error::Stream(_)),
            1,
        ),
        (
            "a page",
            status("200 OK", "content-type: text/html\r\n", "<html>"),
            |e| matches!(e, Error::Stream(words) if words.contains("text/html")),
            1,
        ),
        (
            "an error in the stream",
            events(&[PIECE, &echo]),
            |e| matches!(e, Error::Stream(words) if words.contains("no such key")),
            1,
        ),
        (
            "nothing to say",
            events(&[END, "[DONE]"]),
            |e| matches!(e, Error::Stream(_)),
            1,
        ),
        (
            "withheld",
            events(&[r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#]),
            |e| matches!(e, Error::Stream(_)),
            1,
        ),
        (
            "at its limit",
            events(&[
                PIECE,
                r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
            ]),
            |e| matches!(e, Error::TooLong(1_000)),
            1,
        ),
        (
            "endless",
            Repeats(HEAD.to_owned(), much),
            |e| matches!(e, Error::TooLong(1_000)),
            1,
        ),
        (
            "endless thoughts",
            Repeats(HEAD.to_owned(), format!("data: {THOUGHT}\n\n")),
            |e| matches!(e, Error::TooLong(1_000)),
            1,
        ),
        (
            "an endless line",
            Repeats(format!("{HEAD}data: "), long.clone()),
            |e| matches!(e, Error::TooLong(1_000)),
            1,
        ),
        (
            "an endless object",
            Repeats(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
                    .to_owned(),
                long,
            ),
            |e| matches!(e, Error::TooLong(1_000)),
            1,
        ),
    ];
    let asked = rows
        .iter()
        .map(|row| ask(&vault, vec![row.1.clone()], nothing));
    let asked = futures::future::join_all(asked).await;
    for ((what, _, fits, requests), asked) in rows.into_iter().zip(asked) {
        match &asked.answer {
            Err(error) if fits(error) => {
                assert!(
                    !format!("{error:?}").contains(KEY),
                    "{what}: the key is told"
                );
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(asked.requests, requests, "{what}");
    }
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory).await;
    let good = || events(&[PIECE, PIECE, END, USAGE, "[DONE]"]);
    for first in [
        status("429 Too Many Requests", "retry-after: 0\r\n", ""),
        status("503 Service Unavailable", "", ""),
        status("529 Overloaded", "", ""),
        events(&[PIECE]),
    ] {
        let asked = ask(&vault, vec![first, good()], nothing).await;
        assert_eq!(asked.answer.unwrap(), "hellohello");
        assert_eq!(asked.requests, 2);
    }
}

#[tokio::test]
async fn good_answers_of_every_dialect_are_read_and_counted() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory).await;
    let whole = r#"{"choices":[{"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#;
    let json = "content-type: application/json; charset=utf-8\r\n";
    for (does, counted) in [
        (events(&[PIECE, END, USAGE, "[DONE]"]), true),
        (events(&[THOUGHT, PIECE, END]), false),
        (events(&[PIECE, "[DONE]"]), false),
        (status("200 OK", json, whole), true),
    ] {
        let asked = ask(&vault, vec![does], nothing).await;
        assert_eq!(asked.answer.unwrap(), "hello");
        assert_eq!(asked.used.estimated, !counted, "{:?}", asked.used);
        if counted {
            assert_eq!((asked.used.input_tokens, asked.used.output_tokens), (7, 5));
            assert!((asked.used.cost - 17e-6).abs() < 1e-12);
        }
    }
}

#[tokio::test]
async fn every_bound_ends_it_and_says_what_was_used() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory).await;
    let endless = || vec![Repeats(HEAD.to_owned(), format!("data: {PIECE}\n\n"))];
    let silent = || vec![Holds(format!("{HEAD}data: {PIECE}\n\n"))];
    let tokens = ask(&vault, endless(), |config| config.bounds.tokens = 200).await;
    let cost = ask(&vault, endless(), |config| {
        config.bounds.cost = Some(0.0003)
    })
    .await;
    let time = ask(&vault, silent(), |config| {
        config.patience.idle_timeout = Duration::from_secs(60);
        config.bounds.time = Duration::from_secs(2);
    })
    .await;
    for (asked, expected) in [
        (tokens, Bound::Tokens),
        (cost, Bound::Cost),
        (time, Bound::Time),
    ] {
        let error = asked.answer.unwrap_err();
        let Error::Spent { bound, used } = &error else {
            panic!("{expected}: {error:?}")
        };
        assert_eq!(*bound, expected);
        assert_eq!(used.answers, 1);
        assert!(used.output_tokens > 0 && used.estimated, "{used}");
        assert!(error.to_string().contains(&used.to_string()));
        // What is booked is what was told, but for what came between the two.
        assert_eq!(asked.used.output_tokens, used.output_tokens, "{used}");
        assert_eq!(asked.requests, 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_told_at_once() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = config(&format!("http://127.0.0.1:{port}/v1"));
    let client = Client::new(&config.code, &config, &vault).unwrap();
    let spend = Spend::new(config.bounds);
    let hello = [Message::new("user", "hello")];
    let asked = client.complete(&hello, &spend, |_| {});
    assert!(matches!(asked.await, Err(Error::Unreachable(_))));
}

#[tokio::test]
async fn a_key_from_the_vault_goes_over_tls_to_its_audience_alone() {
    let directory = TempDir::new().unwrap();
    let vault = vault(&directory).await;
    let name: nexus_manifest::SecretName = "model-key".parse().unwrap();
    let audience: Vec<nexus_manifest::Origin> = vec!["https://models.example.com".parse().unwrap()];
    let value = KEY.to_owned().into();
    vault.set(&name, &value, audience, "anna").await.unwrap();
    for (base_url, secret, words) in [
        ("http://127.0.0.1:1/v1", "model-key", "https only"),
        (
            "https://other.example.com/v1",
            "model-key",
            "--audience https://other.example.com",
        ),
        (
            "https://models.example.com:444/v1",
            "model-key",
            "--audience https://models.example.com:444",
        ),
        ("https://models.example.com/v1", "other-key", "other-key"),
    ] {
        let mut config = config(base_url);
        config.code.key = Some(Key::Vault(secret.parse().unwrap()));
        let client = Client::new(&config.code, &config, &vault).unwrap();
        let spend = Spend::new(config.bounds);
        let hello = [Message::new("user", "hello")];
        let asked = client.complete(&hello, &spend, |_| {});
        match asked.await {
            Err(Error::Key { source, .. }) => {
                assert!(source.to_string().contains(words), "{source}");
                assert!(!source.to_string().contains(KEY));
            }
            other => panic!("{base_url}: {other:?}"),
        }
    }
}
