//! An answer as it comes over the wire.

use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures::{Stream, StreamExt as _};
use nexus_effects::operator_egress::OperatorResponse;
use serde::Deserialize;
use serde_json::Value;

use super::client::Said;
use super::error::Error;
use super::spend::Tally;

/// What is shown of an endpoint's refusal.
const REFUSAL_BYTES: usize = 2000;
/// More bytes than a token has: what goes on beyond that ignores its limit.
const TOKEN_BYTES: u64 = 8;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    /// All at once, where the endpoint does not stream.
    #[serde(default)]
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    /// Thoughts, which are paid for and not part of the answer, by either of their names.
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
}

impl Delta {
    fn thoughts(&self) -> usize {
        let thoughts = self.reasoning_content.as_ref().or(self.reasoning.as_ref());
        thoughts.and_then(Value::as_str).map_or(0, str::len)
    }
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// What has come of an answer.
struct Answer<'t, 's, 'a> {
    text: String,
    /// Bytes that the model wrote, thoughts included.
    bytes: usize,
    tally: &'t mut Tally<'s, 'a>,
    most: u64,
    ended: bool,
}

/// Reads an answer of at most `most` tokens to its end.
pub(super) async fn read(
    response: OperatorResponse,
    tally: &mut Tally<'_, '_>,
    most: u64,
    told: &impl Fn(Said<'_>),
) -> Result<String, Error> {
    let mut answer = Answer {
        text: String::new(),
        bytes: 0,
        tally,
        most,
        ended: false,
    };
    let media = response.content_type.as_deref();
    match media
        .and_then(|media| media.split(';').next())
        .map(str::trim)
    {
        Some("application/json") => answer.whole(response.body, told).await?,
        None | Some("text/event-stream") => answer.events(response.body, told).await?,
        Some(other) => {
            let words = format!(
                "it is {other}, and no stream of events; is this the base URL of a chat endpoint?"
            );
            return Err(Error::Stream(words));
        }
    }
    if answer.text.trim().is_empty() {
        return Err(Error::Stream("it is empty".to_owned()));
    }
    Ok(answer.text)
}

impl Answer<'_, '_, '_> {
    async fn events(
        &mut self,
        body: impl Stream<Item = Result<Bytes, nexus_effects::Error>> + Unpin,
        told: &impl Fn(Said<'_>),
    ) -> Result<(), Error> {
        let mut events = body.eventsource();
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| match error {
                EventStreamError::Transport(error) => self.broken(error),
                other => Error::Stream(format!("it is no stream of events: {other}")),
            });
            let event = match event {
                Ok(event) => event,
                // All that was asked for is there; only the goodbye is missing.
                Err(Error::Cut(_)) if self.ended => return Ok(()),
                Err(error) => return Err(error),
            };
            if event.data == "[DONE]" {
                return Ok(());
            }
            self.chunk(event.data.as_bytes(), told)?;
        }
        match self.ended {
            // Some endpoints end the stream without saying so.
            true => Ok(()),
            false => Err(Error::Cut("the stream ended before the answer".to_owned())),
        }
    }

    /// An endpoint that does not stream answers with one piece of JSON.
    async fn whole(
        &mut self,
        mut body: impl Stream<Item = Result<Bytes, nexus_effects::Error>> + Unpin,
        told: &impl Fn(Said<'_>),
    ) -> Result<(), Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| self.broken(error))?);
            if bytes.len() as u64 > self.most.saturating_mul(2 * TOKEN_BYTES) {
                return Err(self.too_long());
            }
        }
        self.chunk(&bytes, told)
    }

    fn chunk(&mut self, data: &[u8], told: &impl Fn(Said<'_>)) -> Result<(), Error> {
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| Error::Stream(format!("it is not what a model says: {error}")))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Error::Stream(format!("the endpoint failed: {error}")));
        }
        if let Some(usage) = chunk.usage {
            self.tally
                .count(usage.prompt_tokens, usage.completion_tokens);
        }
        for choice in chunk.choices {
            let said = choice.delta.or(choice.message).unwrap_or_default();
            self.bytes += said.thoughts();
            if let Some(piece) = said.content {
                self.bytes += piece.len();
                told(Said::Piece(&piece));
                self.text.push_str(&piece);
            }
            self.tally.wrote(self.bytes)?;
            match choice.finish_reason.as_deref() {
                Some("length") => return Err(self.too_long()),
                Some("content_filter") => {
                    let words = "the endpoint withheld it (content_filter)";
                    return Err(Error::Stream(words.to_owned()));
                }
                Some(_) => self.ended = true,
                None => {}
            }
        }
        if self.bytes as u64 > self.most.saturating_mul(TOKEN_BYTES) {
            return Err(self.too_long());
        }
        Ok(())
    }

    /// Longer than one answer may be, or than the forge can afford.
    fn too_long(&self) -> Error {
        match self.most < self.tally.left {
            true => Error::TooLong(self.most),
            false => self.tally.over(),
        }
    }

    fn broken(&self, error: nexus_effects::Error) -> Error {
        match error {
            nexus_effects::Error::Timeout(_) => Error::Silent(error),
            nexus_effects::Error::Exhausted(_) => self.too_long(),
            other => Error::Cut(other.to_string()),
        }
    }
}

/// The beginning of what an endpoint says.
pub(super) async fn beginning(
    mut body: impl Stream<Item = Result<Bytes, nexus_effects::Error>> + Unpin,
) -> String {
    let mut bytes = Vec::new();
    while let (true, Some(Ok(piece))) = (bytes.len() < REFUSAL_BYTES, body.next().await) {
        bytes.extend_from_slice(&piece);
    }
    bytes.truncate(REFUSAL_BYTES);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
