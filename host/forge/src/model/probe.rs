use futures::TryStreamExt as _;
use nexus_effects::operator_egress::{OperatorClient, OperatorOptions};
use serde::Deserialize;

use super::client::endpoint;
use super::config::{Key, Profile};
use super::error::Error;

/// How many names of other models are told.
const NAMES: usize = 5;

/// What stands at a model's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It has the model.
    Serves,
    /// It lists other models, such as these. An endpoint may take names that it does not list.
    Lists(Vec<String>),
    /// It answers, with this status, and lists nothing.
    Answers(u16),
    /// It wants another key, or one at all.
    RefusesKey(u16),
}

#[derive(Deserialize)]
struct Listed {
    data: Vec<Listing>,
}

#[derive(Deserialize)]
struct Listing {
    id: String,
}

/// Asks an endpoint for its models, which costs nothing. A key that the vault keeps is not sent.
pub async fn probe(profile: &Profile, options: OperatorOptions) -> Result<Probe, Error> {
    let (origin, target) = endpoint(&profile.base_url, "models")?;
    let client = OperatorClient::new("model", origin, options).map_err(Error::Setup)?;
    let key = match &profile.key {
        Some(Key::Value(key)) => Some(key),
        Some(Key::Vault(_)) | None => None,
    };
    let answered = client.get_as(key, &target, "application/json").await;
    let answer = answered.map_err(Error::Unreachable)?;
    match answer.status {
        200 => {}
        refused @ (401 | 403) => return Ok(Probe::RefusesKey(refused)),
        other => return Ok(Probe::Answers(other)),
    }
    let body = answer.body.try_fold(Vec::new(), async |mut body, piece| {
        body.extend_from_slice(&piece);
        Ok(body)
    });
    let body = body.await.map_err(Error::Silent)?;
    let Ok(listed) = serde_json::from_slice::<Listed>(&body) else {
        return Ok(Probe::Answers(answer.status));
    };
    if listed
        .data
        .iter()
        .any(|listing| listing.id == profile.model)
    {
        return Ok(Probe::Serves);
    }
    let names = listed.data.into_iter().map(|listing| listing.id);
    Ok(Probe::Lists(names.take(NAMES).collect()))
}
