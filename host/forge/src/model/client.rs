use std::sync::Arc;
use std::time::Duration;

use nexus_effects::operator_egress::{self, OperatorClient, OperatorOptions};
use nexus_manifest::{Origin, Target};
use nexus_vault::Vault;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::config::{Bound, Config, Key, Profile};
use super::error::Error;
use super::spend::Spend;
use super::stream;
use super::takes::{Format, Shape, Takes};

/// One message of a conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    /// What `system`, `user` or `assistant` says.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self {
            role: role.to_owned(),
            content: content.into(),
        }
    }
}

/// What is to be told while an answer comes.
#[derive(Debug)]
pub enum Said<'a> {
    /// The next piece of it.
    Piece(&'a str),
    /// Something about it, for people.
    Note(String),
}

/// The models that write agents.
#[derive(Debug)]
pub struct Models {
    /// Writes specifications.
    pub spec: Client,
    /// Writes code.
    pub code: Client,
    /// How they are set up.
    pub config: Config,
}

impl Models {
    /// The models of this configuration, with keys from this vault.
    pub fn open(config: Config, vault: &Vault) -> Result<Self, Error> {
        let spec = Client::new(&config.spec, &config, vault)?;
        let mut code = Client::new(&config.code, &config, vault)?;
        if (&spec.model, &config.spec.base_url) == (&code.model, &config.code.base_url) {
            code.takes = Arc::clone(&spec.takes);
        }
        Ok(Self { spec, code, config })
    }
}

/// What stands at `path` below a base URL.
pub(super) fn endpoint(base_url: &str, path: &str) -> Result<(Origin, Target), Error> {
    let wrong = |reason: String| Error::BaseUrl {
        url: base_url.to_owned(),
        reason,
    };
    let url = url::Url::parse(base_url).map_err(|error| wrong(error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("write no user name, password or query".to_owned()));
    }
    let origin = url.origin().ascii_serialization();
    let origin = origin.parse().map_err(|error| wrong(format!("{error}")))?;
    let target = format!("{}/{path}", url.path().trim_end_matches('/'));
    let target = target.parse().map_err(|error| wrong(format!("{error}")))?;
    Ok((origin, target))
}

/// Talks to one model.
#[derive(Debug)]
pub struct Client {
    egress: OperatorClient,
    target: Target,
    model: String,
    key: Option<Key>,
    vault: Vault,
    temperature: f64,
    answer_tokens: u64,
    price: super::Price,
    retries: u32,
    backoff: Duration,
    takes: Arc<Takes>,
}

impl Client {
    /// A client for this model. In clear its endpoint is reached on this machine only.
    pub fn new(profile: &Profile, config: &Config, vault: &Vault) -> Result<Self, Error> {
        let (origin, target) = endpoint(&profile.base_url, "chat/completions")?;
        // Around each token there are some hundred bytes of JSON.
        let answer = usize::try_from(profile.answer_tokens).unwrap_or(usize::MAX);
        let options = OperatorOptions {
            bearer: None,
            max_bytes: config.patience.max_bytes.max(answer.saturating_mul(512)),
            ..config.patience.clone()
        };
        Ok(Self {
            egress: OperatorClient::new("model", origin, options).map_err(Error::Setup)?,
            target,
            model: profile.model.clone(),
            key: profile.key.clone(),
            vault: vault.clone(),
            temperature: profile.temperature,
            answer_tokens: profile.answer_tokens,
            price: profile.price,
            retries: config.retries,
            backoff: config.backoff,
            takes: Arc::default(),
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Has the conversation continued; `told` gets each piece as it comes.
    ///
    /// Ends within what `spend` has left, and books there what it used, however it ends.
    pub async fn complete(
        &self,
        messages: &[Message],
        spend: &Spend<'_>,
        told: impl Fn(Said<'_>),
    ) -> Result<String, Error> {
        self.complete_as(messages, None, spend, told).await
    }

    /// The same, with the answer in this format where the endpoint can be asked for one.
    pub(crate) async fn complete_as(
        &self,
        messages: &[Message],
        format: Option<&Format>,
        spend: &Spend<'_>,
        told: impl Fn(Said<'_>),
    ) -> Result<String, Error> {
        let began = Instant::now();
        let deadline = began + spend.time_left();
        let answered = self.persist(messages, format, spend, deadline, &told);
        let answered = timeout_at(deadline, answered).await;
        spend.took(began.elapsed());
        answered.unwrap_or_else(|_| Err(spend.spent(Bound::Time)))
    }

    /// Asks until there is an answer, or no reason to ask once more.
    async fn persist(
        &self,
        messages: &[Message],
        format: Option<&Format>,
        spend: &Spend<'_>,
        deadline: Instant,
        told: &impl Fn(Said<'_>),
    ) -> Result<String, Error> {
        let mut shape = self.takes.shape();
        let mut backoff = self.backoff;
        let mut left = self.retries;
        loop {
            let asked = (messages, format);
            let error = match self.attempt(asked, shape, spend, told).await {
                Ok(text) => {
                    self.takes.took(shape);
                    return Ok(text);
                }
                Err(error) => error,
            };
            // Not every endpoint knows every way of asking; the answer is checked anyway.
            if let Error::Refused {
                status: 400 | 422,
                message,
            } = &error
                && let Some(instead) = shape.instead(format.is_some(), message)
            {
                shape = instead;
                continue;
            }
            let wait = match &error {
                Error::Busy { after, .. } => after.unwrap_or(backoff),
                Error::Refused { status, .. } if *status >= 500 || *status == 408 => backoff,
                Error::Cut(_) => backoff,
                _ => return Err(error),
            };
            let again = Instant::now().checked_add(wait);
            if left == 0 || again.is_none_or(|again| again >= deadline) {
                return Err(error);
            }
            left -= 1;
            backoff *= 2;
            told(Said::Note(format!("{error}; once more in {wait:?}")));
            sleep(wait).await;
        }
    }

    async fn attempt(
        &self,
        (messages, format): (&[Message], Option<&Format>),
        shape: Shape,
        spend: &Spend<'_>,
        told: &impl Fn(Said<'_>),
    ) -> Result<String, Error> {
        let key = self.key().await?;
        let bytes = messages.iter().map(|message| message.content.len()).sum();
        let mut tally = spend.begin(bytes, self.price)?;
        let most = tally.left.min(self.answer_tokens);
        let mut body = json!({ "model": self.model, "messages": messages, "stream": true });
        shape.ask(&mut body, format, self.temperature, most);
        let response = self
            .egress
            .post_as(
                key.as_ref(),
                &self.target,
                "application/json",
                "text/event-stream",
                body.to_string(),
            )
            .await;
        let response = response.map_err(|error| match error {
            nexus_effects::Error::Timeout(_) => Error::Silent(error),
            other => {
                tally.count(0, 0);
                Error::Unreachable(other)
            }
        })?;
        if response.status >= 300 {
            // It was not read, or not to be paid for.
            tally.count(0, 0);
            let (status, after) = (response.status, response.retry_after);
            let message = self.without_key(&stream::beginning(response.body).await, key.as_ref());
            return Err(match status {
                429 => Error::Busy { after, message },
                _ => Error::Refused { status, message },
            });
        }
        let read = stream::read(response, &mut tally, most, told).await;
        read.map_err(|error| match error {
            Error::Stream(said) => Error::Stream(self.without_key(&said, key.as_ref())),
            other => other,
        })
    }

    /// The key, from wherever it is, for this endpoint's origin alone.
    async fn key(&self) -> Result<Option<SecretString>, Error> {
        match &self.key {
            None => Ok(None),
            Some(Key::Value(key)) => Ok(Some(key.clone())),
            Some(Key::Vault(name)) => {
                let key = operator_egress::vault_bearer(&self.vault, name, self.egress.origin());
                let key = key.await.map_err(|source| Error::Key {
                    name: name.clone(),
                    source,
                });
                key.map(Some)
            }
        }
    }

    /// What an endpoint says may hold the key that it was sent.
    fn without_key(&self, text: &str, key: Option<&SecretString>) -> String {
        match key.map(|key| key.expose_secret()) {
            Some(key) if !key.is_empty() => text.replace(key, "[key]"),
            _ => text.to_owned(),
        }
    }
}
