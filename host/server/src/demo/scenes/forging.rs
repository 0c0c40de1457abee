//! Words become an agent: by a template, or by a model if there is one.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, bail};
use nexus_proto::v1::{
    Agent, Approval, DecideApprovalRequest, ForgeAgentRequest, ForgeBuilder, ForgeEvent, ForgeMode,
    GetApprovalRequest, InputParameter, NeedsReview, Verdict,
    forge_event::{Detail, State},
    input_parameter::Type,
};

use super::{AGENT, Model};
use crate::{
    cli::{
        connection::Client,
        text::{line, word},
        view,
    },
    demo::story::Story,
};

/// One version of the agent.
pub(super) struct Version {
    /// What of the market's answer it takes for the price.
    pub(super) member: &'static str,
    /// Who makes the component of a template.
    pub(super) by: ForgeBuilder,
    /// What its times are called.
    pub(super) label: &'static str,
}

/// Forges the agent, and lets a person accept what it may do. Notes how long each stage took.
pub(super) async fn forge(
    story: &mut Story,
    client: &Client,
    origin: &str,
    model: Option<&Model>,
    version: Version,
) -> anyhow::Result<Agent> {
    let request = request(origin, model, &version);
    story.say(&format!("   \"{}\"", line(&request.words)));
    let mut events = client.forge().forge_agent(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        if let Some(told) = told(&event) {
            story.say(&told);
        }
        note_time(story, &event, version.label);
        if let Some(Detail::Review(review)) = &event.detail {
            accept(story, client, review).await?;
        }
        last = Some(event);
    }
    match last.and_then(|event| event.detail) {
        Some(Detail::Published(agent)) => Ok(agent),
        _ => bail!(
            "the forge did not end with a live agent; the lines above say why, and `nexus doctor` what this \
             machine lacks"
        ),
    }
}

fn request(origin: &str, model: Option<&Model>, version: &Version) -> ForgeAgentRequest {
    let member = version.member;
    let request = ForgeAgentRequest {
        agent_id: AGENT.to_owned(),
        words: "Read the price of a coin at a market and place orders there".to_owned(),
        ..ForgeAgentRequest::default()
    };
    if model.is_none() {
        return ForgeAgentRequest {
            mode: ForgeMode::Template.into(),
            template: "http-write".to_owned(),
            builder: version.by.into(),
            set: HashMap::from([
                ("origin".to_owned(), origin.to_owned()),
                ("price".to_owned(), format!("/{member}")),
            ]),
            ..request
        };
    }
    let parameter = |name: &str, kind: Type, required| InputParameter {
        name: name.to_owned(),
        r#type: kind.into(),
        required,
    };
    ForgeAgentRequest {
        mode: ForgeMode::Model.into(),
        words: format!(
            "{} at {origin}. If `action` is \"price\", GET {origin}/price?symbol=SYMBOL, whose JSON answer \
             has the price as the number `{member}`, and output {{\"symbol\": SYMBOL, \"price\": NUMBER}}. If \
             `action` is \"order\", POST the JSON object with exactly the members `symbol`, `side` and \
             `quantity` of the input to {origin}/orders, and output {{\"symbol\": SYMBOL, \"order\": ANSWER}} \
             with the JSON that the market answers",
            request.words
        ),
        parameters: vec![
            parameter("action", Type::String, true),
            parameter("symbol", Type::String, true),
            parameter("side", Type::String, false),
            parameter("quantity", Type::Number, false),
        ],
        ..request
    }
}

/// Ends of stages and what they found; beginnings and the model's text would only fill the screen.
fn told(event: &ForgeEvent) -> Option<String> {
    if event.state() == State::Running && !matches!(event.detail, Some(Detail::Log(_))) {
        return None;
    }
    let text = view::forge::event(event);
    (!text.is_empty()).then(|| {
        text.lines()
            .map(|line| format!("   {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    })
}

fn note_time(story: &mut Story, event: &ForgeEvent, label: &str) {
    // A stage that stops for a person ends later, and tells its whole time then.
    if !matches!(event.state(), State::Succeeded | State::Failed) {
        return;
    }
    let time = event
        .duration
        .and_then(|time| Duration::try_from(time).ok());
    if let Some(time) = time {
        let stage = word(event.stage().as_str_name(), "STAGE_");
        story.took(&format!("{label}: {stage}"), time);
    }
}

/// Shows what the agent may do and has a person accept it; the forge then goes on.
async fn accept(story: &mut Story, client: &Client, review: &NeedsReview) -> anyhow::Result<()> {
    let request = GetApprovalRequest {
        name: review.approval.clone(),
    };
    let approval = client
        .approvals()
        .get_approval(request)
        .await
        .context("failed to read the review")?
        .into_inner();
    story.say(&indented(&view::approval::full(&approval)));
    story
        .ask("Let it ask for exactly this? Each write still needs a yes of its own.")
        .await?;
    approve(&approval, client).await
}

/// Says yes to what was shown and to nothing else.
pub(super) async fn approve(approval: &Approval, client: &Client) -> anyhow::Result<()> {
    let request = DecideApprovalRequest {
        name: approval.name.clone(),
        verdict: Verdict::Approve.into(),
        reason: "part of the demo".to_owned(),
        digest: approval.digest.clone(),
        ..DecideApprovalRequest::default()
    };
    client.approvals().decide_approval(request).await?;
    Ok(())
}

/// The text, a little to the right.
pub(super) fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut indented, line| {
        if !line.is_empty() {
            indented.push_str("   | ");
            indented.push_str(line);
        }
        indented.push('\n');
        indented
    })
}
