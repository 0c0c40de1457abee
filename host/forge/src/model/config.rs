use std::fmt;
use std::time::Duration;

use nexus_effects::operator_egress::OperatorOptions;
use nexus_manifest::SecretName;
use secrecy::SecretString;

/// Which models write agents, and how far they may go.
#[derive(Debug, Clone)]
pub struct Config {
    /// Writes specifications.
    pub spec: Profile,
    /// Writes code.
    pub code: Profile,
    /// What one forge may use of both.
    pub bounds: Bounds,
    /// How long an endpoint may take, and whom to trust. A key in it is not used.
    pub patience: OperatorOptions,
    /// How often an answer is asked for again after the endpoint was busy, failed or broke off.
    pub retries: u32,
    /// The wait before the first time; it doubles. What the endpoint itself says goes before.
    pub backoff: Duration,
}

impl Config {
    /// One model for everything, with the default bounds.
    pub fn new(profile: Profile) -> Self {
        Self {
            spec: profile.clone(),
            code: profile,
            bounds: Bounds::default(),
            patience: OperatorOptions {
                first_byte_timeout: Duration::from_secs(120),
                idle_timeout: Duration::from_secs(60),
                total_timeout: Duration::from_secs(300),
                max_bytes: 8 * 1024 * 1024,
                ..OperatorOptions::default()
            },
            retries: 3,
            backoff: Duration::from_secs(1),
        }
    }
}

/// A model at an endpoint.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The endpoint up to `/v1`, such as `http://localhost:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// The key, if it takes one. Sent to the endpoint's own origin as a bearer token, and nowhere
    /// else.
    pub key: Option<Key>,
    /// How freely it writes.
    pub temperature: f64,
    /// The most tokens of one answer.
    pub answer_tokens: u64,
    /// What it costs.
    pub price: Price,
}

impl Profile {
    /// A model that takes no key and costs nothing.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            key: None,
            temperature: 0.0,
            answer_tokens: 16 * 1024,
            price: Price::default(),
        }
    }
}

/// Where the key of an endpoint comes from.
#[derive(Debug, Clone)]
pub enum Key {
    /// It is this one.
    Value(SecretString),
    /// The vault keeps it under this name. It is opened for each request, and only where its
    /// audience names the endpoint's origin.
    Vault(SecretName),
}

/// What a million tokens cost, in whatever money the operator reckons in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Price {
    /// Of what the model reads.
    pub input: f64,
    /// Of what it writes.
    pub output: f64,
}

/// What one forge may use of models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Attempts at the code, the first one included.
    pub turns: u32,
    /// Tokens, read and written, of all answers together.
    pub tokens: u64,
    /// Money, if that is bounded.
    pub cost: Option<f64>,
    /// Time that is spent with asking and waiting for answers.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            turns: 3,
            tokens: 200_000,
            cost: None,
            time: Duration::from_secs(600),
        }
    }
}

/// What stands in the way of the next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Bounds::tokens`].
    Tokens,
    /// [`Bounds::cost`].
    Cost,
    /// [`Bounds::time`].
    Time,
    /// What the principal may use of models in an hour.
    Hour,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokens => "max_tokens under [model]",
            Self::Cost => "max_cost under [model]",
            Self::Time => "max_seconds under [model]",
            Self::Hour => "tokens_per_hour under [forge]",
        })
    }
}
