//! A chat endpoint that says what the test wants.

use std::sync::{Arc, Mutex};

use nexus_forge::ModelConfig;
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: Vec<String> = answers.iter().rev().map(|a| (*a).to_owned()).collect();
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.pop();
                let question = converse(stream, answer).await;
                kept.lock().unwrap().push(question);
            }
        });
        let config = ModelConfig {
            base_url: format!("http://127.0.0.1:{port}/v1"),
            model: "scripted-1".to_owned(),
            api_key: Some("key-0815".into()),
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
async fn converse(mut stream: TcpStream, answer: Option<String>) -> Value {
    let mut bytes = Vec::new();
    let body = loop {
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
    let response = match answer {
        None => {
            "HTTP/1.1 500 No\r\ncontent-length: 9\r\nconnection: close\r\n\r\nexhausted".to_owned()
        }
        Some(answer) => {
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
