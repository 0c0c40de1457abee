//! The scenes, in their order. Each fails with what happened and, where it can be known, the remedy.

mod forging;
mod order;
mod swap;
mod trail;

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use nexus_proto::v1::{ForgeBuilder, Invocation, InvokeAgentRequest, invocation::Outcome};
use serde_json::{Value as Json, json};

use super::{host::Host, market::Market, story::Story};
use crate::{
    cli::{connection::Client, text::line, view},
    config,
};

/// What the demo's agent is called.
const AGENT: &str = "eth-trader";

/// A language model that the environment names.
pub(super) struct Model {
    base_url: String,
    model: String,
    key: bool,
}

impl Model {
    /// `NEXUS_MODEL_URL` (up to `/v1`), `NEXUS_MODEL` (its name) and `NEXUS_MODEL_KEY`, if needed.
    pub(super) fn from_environment() -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            base_url: variable("NEXUS_MODEL_URL")?,
            model: variable("NEXUS_MODEL").unwrap_or_else(|| "default".to_owned()),
            key: variable("NEXUS_MODEL_KEY").is_some(),
        })
    }

    pub(super) fn config(&self) -> config::Model {
        config::Model {
            base_url: self.base_url.clone(),
            model: self.model.clone(),
            api_key_env: self.key.then(|| "NEXUS_MODEL_KEY".to_owned()),
            ..config::Model::default()
        }
    }
}

/// Plays every scene; returns only if all of them came true.
pub(super) async fn play(
    story: &mut Story,
    host: &mut Host,
    market: &Market,
    model: Option<&Model>,
    by: ForgeBuilder,
) -> anyhow::Result<()> {
    story.say(match by {
        ForgeBuilder::Local => "   its first start also compiles the libraries that agents are linked with",
        _ => "   there is no Rust compiler in reach, so both versions are the template's prebuilt component",
    });
    let began = Instant::now();
    let (client, status) = host.ready().await?;
    story.since("start of the host", began);
    story.say(&format!(
        "   host {} is up, the market answers at {}",
        line(&status.version),
        market.origin
    ));

    story.scene("Words become an agent");
    let agent = {
        let prebuilt = forging::Version {
            member: "price",
            by: ForgeBuilder::Unspecified,
            label: "forge",
        };
        forging::forge(story, &client, &market.origin, model, prebuilt).await?
    };
    story.say(&format!(
        "   {AGENT} is live, generation {}",
        agent.generation
    ));

    story.scene("A read goes through");
    let began = Instant::now();
    let price = price(&client).await?;
    story.since("first price", began);
    story.say(&format!(
        "   {{\"action\": \"price\", \"symbol\": \"ETH\"}} -> {price}"
    ));
    ensure!(
        market.orders().is_empty(),
        "asking for a price placed an order at the market"
    );

    story.scene("A write stops in front of a person");
    let placed = order::place(story, &client, market).await?;

    story.scene("A second version goes live while calls run");
    swap::swap(story, &client, market, model, by, agent.generation).await?;

    story.scene("The audit trail proves it");
    trail::prove(story, &client, &placed).await
}

/// Asks the agent for a price.
async fn price(client: &Client) -> anyhow::Result<Json> {
    let (_, answer) = ask_price(client).await?;
    Ok(answer)
}

/// The generation that answered, and its answer.
async fn ask_price(client: &Client) -> anyhow::Result<(u64, Json)> {
    let input = json!({ "action": "price", "symbol": "ETH" });
    let invocation = invoke(client, &input).await?;
    match &invocation.outcome {
        Some(Outcome::Success(success)) => {
            let answer: Json =
                serde_json::from_str(&success.output).context("the agent's answer is no JSON")?;
            ensure!(
                answer.get("price").is_some_and(Json::is_number),
                "the agent answered without a price: {}",
                line(&success.output)
            );
            Ok((invocation.generation, answer))
        }
        _ => bail!(
            "the agent was to answer a price: {}",
            line(&view::invocation::explain(&invocation))
        ),
    }
}

async fn invoke(client: &Client, input: &Json) -> anyhow::Result<Invocation> {
    let request = InvokeAgentRequest {
        name: format!("agents/{AGENT}"),
        input: input.to_string(),
        ..InvokeAgentRequest::default()
    };
    Ok(client
        .invocations()
        .invoke_agent(request)
        .await?
        .into_inner())
}
