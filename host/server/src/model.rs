//! `[model]`: from what the operator wrote to the models that write agents.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nexus_effects::operator_egress::{CertificateDer, OperatorOptions};
use nexus_forge::model::{Bounds, Config, Key, Price, Profile};
use nexus_manifest::SecretName;
use serde::{Deserialize, Serialize};

use crate::config::{Model, ModelProfile};

/// Where the API key of a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelKey {
    /// `vault:NAME`: a secret whose audience names the endpoint's origin.
    Vault(SecretName),
    /// `env:VARIABLE`.
    Environment(String),
}

/// A text that names no source of an API key.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no source of a model's key: write `vault:NAME` and set the secret with `nexus vault set NAME --audience ORIGIN`, or `env:VARIABLE`"
)]
pub struct ModelKeyError(String);

impl FromStr for ModelKey {
    type Err = ModelKeyError;

    fn from_str(text: &str) -> Result<Self, ModelKeyError> {
        // What is no source may be the key itself, and is not repeated.
        let wrong = || ModelKeyError(text.split_once(':').map_or("...", |(kind, _)| kind).into());
        match text.split_once(':') {
            Some(("vault", name)) => name.parse().map(Self::Vault).map_err(|_| wrong()),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(name) => write!(f, "vault:{name}"),
            Self::Environment(name) => write!(f, "env:{name}"),
        }
    }
}

impl TryFrom<String> for ModelKey {
    type Error = ModelKeyError;

    fn try_from(text: String) -> Result<Self, ModelKeyError> {
        text.parse()
    }
}

impl From<ModelKey> for String {
    fn from(key: ModelKey) -> Self {
        key.to_string()
    }
}

impl Model {
    /// The key's source, by whichever of its two names it is given.
    pub(crate) fn key_source(&self) -> Option<ModelKey> {
        let variable = self.api_key_env.clone().map(ModelKey::Environment);
        self.key.clone().or(variable)
    }
}

/// The models in force, which trust these certificates besides the web's.
pub(crate) fn models(
    set: &Model,
    extra_roots: &[CertificateDer<'static>],
) -> anyhow::Result<Config> {
    let spec =
        profile(set, set.spec.as_ref()).context("failed to read [model] for specifications")?;
    let code = profile(set, set.code.as_ref()).context("failed to read [model] for code")?;
    let priced = |profile: &Profile| profile.price.input > 0.0 || profile.price.output > 0.0;
    if set.max_cost.is_some() && !(priced(&spec) && priced(&code)) {
        bail!(
            "[model] sets max_cost, and nothing says what a model costs; set input_price and output_price"
        );
    }
    if set.turns == 0 {
        bail!("[model] sets turns to 0; a model needs at least one");
    }
    let defaults = Config::new(spec.clone());
    Ok(Config {
        code,
        bounds: Bounds {
            turns: set.turns,
            tokens: set.max_tokens,
            cost: set.max_cost,
            time: Duration::from_secs(set.max_seconds),
        },
        patience: OperatorOptions {
            extra_roots: extra_roots.to_vec(),
            connect_timeout: Duration::from_secs(set.connect_seconds),
            first_byte_timeout: Duration::from_secs(set.first_byte_seconds),
            idle_timeout: Duration::from_secs(set.idle_seconds),
            total_timeout: Duration::from_secs(set.answer_seconds),
            ..defaults.patience
        },
        ..defaults
    })
}

fn profile(set: &Model, other: Option<&ModelProfile>) -> anyhow::Result<Profile> {
    let other = other.cloned().unwrap_or_default();
    // A key goes to the endpoint that it was named for, and to no other.
    let source = match other.base_url {
        Some(_) => other.key,
        None => other.key.or_else(|| set.key_source()),
    };
    let named = |value: String, key: &str| match value.is_empty() {
        true => Err(anyhow::anyhow!("{key} is not set")),
        false => Ok(value),
    };
    let base_url = other.base_url.unwrap_or_else(|| set.base_url.clone());
    let model = other.model.unwrap_or_else(|| set.model.clone());
    Ok(Profile {
        base_url: named(base_url, "base_url")?,
        model: named(model, "model")?,
        key: source.map(key).transpose()?,
        temperature: other.temperature.unwrap_or(set.temperature),
        answer_tokens: other.answer_tokens.unwrap_or(set.answer_tokens),
        price: Price {
            input: other.input_price.unwrap_or(set.input_price),
            output: other.output_price.unwrap_or(set.output_price),
        },
    })
}

fn key(source: ModelKey) -> anyhow::Result<Key> {
    match source {
        ModelKey::Vault(name) => Ok(Key::Vault(name)),
        ModelKey::Environment(name) => {
            let value = std::env::var(&name).ok().filter(|value| !value.is_empty());
            let value = value.with_context(|| {
                format!("[model] names the variable {name} for the API key, and it is not set")
            })?;
            Ok(Key::Value(value.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Model {
        toml::from_str(text).expect("a table")
    }

    const BASE: &str =
        "base_url = \"https://a.example/v1\"\nmodel = \"small\"\nkey = \"vault:a-key\"\n";

    #[test]
    fn a_profile_changes_what_it_names_and_takes_no_key_elsewhere() {
        let set = read(&format!(
            "{BASE}temperature = 0.5\n[spec]\nbase_url = \"https://b.example/v1\"\n[code]\nmodel = \"large\"\nanswer_tokens = 9\n"
        ));
        let models = models(&set, &[]).expect("models");
        assert_eq!(models.spec.base_url, "https://b.example/v1");
        assert!(models.spec.key.is_none(), "the key is for a.example");
        assert_eq!(
            (models.code.model.as_str(), models.code.answer_tokens),
            ("large", 9)
        );
        assert!(matches!(&models.code.key, Some(Key::Vault(name)) if name.as_str() == "a-key"));
        assert!((models.code.temperature - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (text, words) in [
            ("model = \"m\"", "base_url is not set"),
            ("base_url = \"https://a.example\"", "model is not set"),
            (&format!("{BASE}max_cost = 1.0"), "input_price"),
            (&format!("{BASE}turns = 0"), "turns"),
        ] {
            let refused = models(&read(text), &[]).expect_err(text);
            assert!(format!("{refused:#}").contains(words), "{refused:#}");
        }
        let refused = toml::from_str::<Model>("key = \"sk-0815\"").expect_err("a key in the file");
        assert!(!refused.message().contains("0815"), "{}", refused.message());
    }
}
