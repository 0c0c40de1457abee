//! A language model that says what the test wants, behind an OpenAI-compatible endpoint on loopback.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::origin::{self, Answer, Origin, Received};

/// Letters of one event of the stream.
const PIECE: usize = 24;

/// What the model was asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The body of the request.
    pub body: Value,
    /// Its header `authorization`.
    pub authorization: Option<String>,
}

/// The endpoint. It ends when it is dropped.
pub struct Model {
    origin: Origin,
}

impl Question {
    fn read(received: &Received) -> Self {
        let authorization = received.headers.get("authorization");
        Self {
            body: serde_json::from_slice(&received.body).unwrap_or_default(),
            authorization: authorization
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into()),
        }
    }

    fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// What the message at this place says, from 0.
    pub fn said(&self, place: usize) -> &str {
        let message = self.messages().get(place);
        message
            .and_then(|it| it["content"].as_str())
            .unwrap_or_default()
    }

    /// What the last message says.
    pub fn last(&self) -> &str {
        self.said(self.messages().len().saturating_sub(1))
    }

    /// Whether a specification is asked for, and not code.
    pub fn wants_spec(&self) -> bool {
        !self.said(0).contains("src/lib.rs")
    }

    /// Whether an earlier answer was refused.
    pub fn is_repeated(&self) -> bool {
        self.messages().len() > 2
    }
}

impl Model {
    /// A model that answers with a function; `None` is the status 500.
    pub async fn start(
        answer: impl Fn(&Question) -> Option<String> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let origin = Origin::start(move |received| reply(received, &answer)).await?;
        Ok(Self { origin })
    }

    /// The same, over TLS.
    pub async fn start_tls(
        authority: &Authority,
        answer: impl Fn(&Question) -> Option<String> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let origin = Origin::start_tls(authority, move |received| reply(received, &answer)).await?;
        Ok(Self { origin })
    }

    /// Answers with these in their order, however it is asked.
    pub async fn saying(answers: &[&str]) -> anyhow::Result<Self> {
        let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let left = std::sync::Mutex::new(answers.into_iter());
        Self::start(move |_| left.lock().ok()?.next()).await
    }

    /// Where it is.
    pub fn origin(&self) -> String {
        self.origin.url()
    }

    /// The lines of `nexus.toml` that name it. More keys of `[model]` may follow.
    pub fn config(&self) -> String {
        format!(
            "[model]\nbase_url = \"{}/v1\"\nmodel = \"scripted\"\n",
            self.origin.url()
        )
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Question> {
        self.origin.received().iter().map(Question::read).collect()
    }
}

fn reply(received: &Received, answer: &impl Fn(&Question) -> Option<String>) -> Answer {
    if received.target != "/v1/chat/completions" {
        return origin::json(StatusCode::NOT_FOUND, &json!({ "error": "no such path" }));
    }
    match answer(&Question::read(received)) {
        Some(text) => stream(&text),
        None => origin::json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "error": "no more" }),
        ),
    }
}

/// The text as a stream of events, a few letters each.
fn stream(text: &str) -> Answer {
    let letters: Vec<char> = text.chars().collect();
    let event = |chunk: Value| format!("data: {chunk}\n\n");
    let mut events: String = letters
        .chunks(PIECE)
        .map(|piece| {
            let piece: String = piece.iter().collect();
            event(json!({ "choices": [{ "index": 0, "delta": { "content": piece }, "finish_reason": null }] }))
        })
        .collect();
    events += &event(json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }));
    let written = text.len() / 4;
    events += &event(
        json!({ "choices": [], "usage": { "prompt_tokens": 1_000, "completion_tokens": written } }),
    );
    events += "data: [DONE]\n\n";
    let mut response = Response::new(Full::new(Bytes::from(events)));
    let media = HeaderValue::from_static("text/event-stream");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, media);
    response
}
