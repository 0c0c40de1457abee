//! One host for all cases, with an origin for each, and the model.

use std::collections::{BTreeMap, BTreeSet};

use nexus_proto::v1;

use super::case::{Case, Entry};
use super::world;
use crate::model::Question;
use crate::origin::Origin;
use crate::{Authority, Client, Host, Model, guests};

/// Who answers the forge's questions.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// The answers that are recorded with the cases, streamed by an endpoint on loopback.
    Recorded,
    /// A model that is really there.
    Live {
        /// Its endpoint up to `/v1`.
        base_url: String,
        /// Its name.
        model: String,
        /// The environment variable with its key, if it takes one.
        key_env: Option<String>,
    },
}

/// See the module.
pub struct Stage {
    /// The host.
    pub host: Host,
    pub(super) origins: BTreeMap<String, Origin>,
    _model: Option<Model>,
    _authority: Authority,
}

impl Stage {
    /// Starts everything that these cases need.
    pub async fn new(cases: &[Case], endpoint: &Endpoint) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let mut origins = BTreeMap::new();
        for case in cases {
            let origin = world::origin(&authority, case.told.responses.clone()).await?;
            origins.insert(case.name.clone(), origin);
        }
        let (model, table) = match endpoint {
            Endpoint::Recorded => {
                let model = recorded(cases, &origins).await?;
                let table = model.config();
                (Some(model), table)
            }
            Endpoint::Live {
                base_url,
                model,
                key_env,
            } => {
                let key = key_env
                    .as_ref()
                    .map(|name| format!("key = \"env:{name}\"\n"));
                let key = key.unwrap_or_default();
                let table = format!("[model]\nbase_url = {base_url:?}\nmodel = {model:?}\n{key}");
                (None, table)
            }
        };
        let urls: Vec<String> = origins.values().map(Origin::url).collect();
        let config = format!(
            "[egress]\nprivate_origins = {urls:?}\nextra_roots = {:?}\n{table}",
            authority.path()
        );
        let host = Host::builder().config(&config).start()?;
        let stage = Self {
            host,
            origins,
            _model: model,
            _authority: authority,
        };
        stage.furnish(cases).await?;
        Ok(stage)
    }

    /// Secrets, memory and the agents that others call.
    async fn furnish(&self, cases: &[Case]) -> anyhow::Result<()> {
        let mut client = self.host.operator().await?;
        let peers: BTreeSet<&String> = cases.iter().flat_map(Case::peers).collect();
        for peer in peers {
            // It answers with what it is told.
            let manifest = include_str!("../../agents/echo/agent.toml");
            let manifest = manifest.replace("\"echo\"", &format!("{peer:?}"));
            client
                .deploy(&guests::with_manifest("echo", &manifest))
                .await?;
        }
        for case in cases {
            for secret in &case.told.secrets {
                let request = v1::SetSecretRequest {
                    secret_id: secret.name.clone(),
                    value: secret.value.clone(),
                    audience: vec![self.origins[&case.name].url()],
                    ..v1::SetSecretRequest::default()
                };
                client.vault.set_secret(request).await?;
            }
            for seed in &case.told.seeds {
                seed.put(&mut client).await?;
            }
        }
        Ok(())
    }
}

impl Entry {
    pub(super) fn name(&self) -> String {
        format!("spaces/{}/entries/{}", self.space, self.key)
    }

    /// Its bytes, as it is meant.
    fn bytes(&self) -> Vec<u8> {
        let json = self.value.as_ref().map(|value| value.to_string());
        json.or_else(|| self.text.clone())
            .unwrap_or_default()
            .into_bytes()
    }

    async fn put(&self, client: &mut Client) -> anyhow::Result<()> {
        let request = v1::PutEntryRequest {
            name: self.name(),
            value: self.bytes(),
            ..v1::PutEntryRequest::default()
        };
        client.memory.put_entry(request).await?;
        Ok(())
    }
}

/// Answers what is recorded for the case whose words it is asked about.
async fn recorded(cases: &[Case], origins: &BTreeMap<String, Origin>) -> anyhow::Result<Model> {
    let cases: Vec<(Case, String, String)> = cases
        .iter()
        .map(|case| {
            let origin = origins[&case.name].url();
            (case.clone(), case.words(&origin), origin)
        })
        .collect();
    Model::start(move |question: &Question| {
        let (case, _, origin) = cases
            .iter()
            .find(|(_, words, _)| question.said(1).contains(words.as_str()))?;
        Some(match question.wants_spec() {
            true => case.spec(origin),
            false => case.code(origin, usize::from(question.is_repeated())),
        })
    })
    .await
}
