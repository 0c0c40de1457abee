use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures::StreamExt;
use nexus_effects::operator_egress::{OperatorClient, OperatorOptions};
use nexus_manifest::{Origin, Target};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Error;

/// Which model writes agents.
#[derive(Debug, Clone)]
pub struct Config {
    /// The endpoint up to `/v1`, such as `http://localhost:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// The key, if it takes one. Sent as a bearer token and nowhere else.
    pub api_key: Option<SecretString>,
}

/// One message of a conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    pub(crate) fn new(role: &str, content: impl Into<String>) -> Self {
        Self {
            role: role.to_owned(),
            content: content.into(),
        }
    }
}

/// Talks to the model.
#[derive(Debug)]
pub struct Client {
    egress: OperatorClient,
    target: Target,
    model: String,
}

/// The most text of one answer.
const ANSWER_BYTES: usize = 512 * 1024;
/// The most tokens of one answer.
const ANSWER_TOKENS: usize = 16 * 1024;
/// One answer takes no longer.
const PATIENCE: Duration = Duration::from_secs(300);
/// What is shown of an endpoint's refusal.
const REFUSAL_BYTES: usize = 2000;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
}

impl Client {
    /// A client for this endpoint. In clear it is reached on this machine only.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let wrong = |reason: String| Error::BaseUrl {
            url: config.base_url.clone(),
            reason,
        };
        let url = url::Url::parse(&config.base_url).map_err(|error| wrong(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(wrong("write no user name, password or query".to_owned()));
        }
        let origin: Origin = url
            .origin()
            .ascii_serialization()
            .parse()
            .map_err(|error| wrong(format!("{error}")))?;
        let target: Target = format!("{}/chat/completions", url.path().trim_end_matches('/'))
            .parse()
            .map_err(|error| wrong(format!("{error}")))?;
        let options = OperatorOptions {
            bearer: config.api_key.clone(),
            total_timeout: PATIENCE,
            max_bytes: 8 * ANSWER_BYTES,
            ..OperatorOptions::default()
        };
        Ok(Self {
            egress: OperatorClient::new("model", origin, options).map_err(Error::Setup)?,
            target,
            model: config.model.clone(),
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Has the conversation continued; `told` gets each piece as it comes.
    pub async fn complete(
        &self,
        messages: &[Message],
        format: Option<&Value>,
        told: impl Fn(&str),
    ) -> Result<String, Error> {
        match self.attempt(messages, format, &told).await {
            // Not every endpoint knows this way of asking for JSON; the answer is
            // checked anyway.
            Err(Error::Refused {
                status: 400 | 422, ..
            }) if format.is_some() => self.attempt(messages, None, &told).await,
            other => other,
        }
    }

    async fn attempt(
        &self,
        messages: &[Message],
        format: Option<&Value>,
        told: &impl Fn(&str),
    ) -> Result<String, Error> {
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "stream": true,
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
        });
        if let Some(format) = format {
            body["response_format"] = format.clone();
        }
        let response = self
            .egress
            .post(
                &self.target,
                "application/json",
                "text/event-stream",
                body.to_string(),
            )
            .await
            .map_err(Error::Unreachable)?;
        if response.status >= 300 {
            return Err(Error::Refused {
                status: response.status,
                message: beginning(response.body).await,
            });
        }
        let mut events = response.body.eventsource();
        let mut text = String::new();
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| match error {
                eventsource_stream::EventStreamError::Transport(error) => Error::Unreachable(error),
                other => Error::Stream(other.to_string()),
            })?;
            if event.data == "[DONE]" {
                return Ok(text);
            }
            let chunk: Chunk = serde_json::from_str(&event.data)
                .map_err(|error| Error::Stream(error.to_string()))?;
            if let Some(error) = chunk.error {
                return Err(Error::Stream(error.to_string()));
            }
            for choice in chunk.choices {
                if let Some(piece) = choice.delta.content {
                    told(&piece);
                    text.push_str(&piece);
                }
                if choice.finish_reason.as_deref() == Some("length") {
                    return Err(Error::TooLong(ANSWER_TOKENS));
                }
            }
            if text.len() > ANSWER_BYTES {
                return Err(Error::TooLong(ANSWER_BYTES));
            }
        }
        if text.is_empty() {
            return Err(Error::Stream("it ended before it began".to_owned()));
        }
        // Some endpoints end the stream without saying so.
        Ok(text)
    }
}

async fn beginning(
    mut body: impl futures::Stream<Item = Result<Bytes, nexus_effects::Error>> + Unpin,
) -> String {
    let mut bytes = Vec::new();
    while let (true, Some(Ok(piece))) = (bytes.len() < REFUSAL_BYTES, body.next().await) {
        bytes.extend_from_slice(&piece);
    }
    bytes.truncate(REFUSAL_BYTES);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
