//! A chat endpoint that says what the test wants.

use std::sync::{Arc, Mutex};

use std::time::Duration;

use nexus_forge::ModelConfig;
use nexus_forge::model::{Key, Profile};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Streams its answers in order, and keeps what it was asked.
pub(crate) struct Scripted {
    pub(crate) config: ModelConfig,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Scripted {
    pub(crate) async fn start(answers: &[&str]) -> Self {
        Self::choosy(answers, |_| false).await
    }

    /// One that refuses questions of which `refuses` is true, with a 400.
    pub(crate) async fn choosy(answers: &[&str], refuses: fn(&Value) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: Vec<String> = answers.iter().rev().map(|a| (*a).to_owned()).collect();
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = |question: &Value| match refuses(question) {
                    true => Err("400 Bad Request"),
                    false => answers.pop().ok_or("500 No"),
                };
                let question = converse(stream, answer).await;
                kept.lock().unwrap().push(question);
            }
        });
        let profile = Profile {
            key: Some(Key::Value("key-0815".into())),
            ..Profile::new(format!("http://127.0.0.1:{port}/v1"), "scripted-1")
        };
        let config = ModelConfig {
            backoff: Duration::from_millis(1),
            ..ModelConfig::new(profile)
        };
        Self { config, asked }
    }

    /// The bodies that it was sent.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads one request and streams the answer, a few letters an event; without an
/// answer it refuses.
async fn converse(
    mut stream: TcpStream,
    answer: impl FnOnce(&Value) -> Result<String, &'static str>,
) -> Value {
    let mut bytes = Vec::new();
    let body: Value = loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length: usize = head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        if body.len() >= length {
            assert!(head.starts_with("post /v1/chat/completions "), "{head}");
            assert!(head.contains("authorization: bearer key-0815"), "{head}");
            break serde_json::from_str(body).unwrap();
        }
    };
    let response = match answer(&body) {
        Err(status) => {
            format!("HTTP/1.1 {status}\r\ncontent-length: 9\r\nconnection: close\r\n\r\nexhausted")
        }
        Ok(answer) => {
            let letters: Vec<char> = answer.chars().collect();
            let events: String = letters
                .chunks(40)
                .map(|piece| {
                    let piece: String = piece.iter().collect();
                    let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": piece }, "finish_reason": null }] });
                    format!("data: {chunk}\n\n")
                })
                .collect();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}data: [DONE]\n\n"
            )
        }
    };
    // In two writes, so that an event arrives in pieces.
    let (first, second) = response.as_bytes().split_at(response.len() / 2);
    for piece in [first, second] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.shutdown().await.unwrap();
    body
}
