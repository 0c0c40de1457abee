//! A write stops in front of a person, and then exactly that write happens.

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use nexus_proto::v1::{
    Approval, GetApprovalRequest, Invocation, WatchInvocationRequest,
    invocation::{Outcome, State},
    invocation_event::Event,
};
use serde_json::{Value as Json, json};

use super::{
    forging::{approve, indented},
    invoke,
};
use crate::{
    cli::{
        connection::Client,
        text::{id, line},
        view,
    },
    demo::{market::Market, story::Story},
};

/// What was approved and done.
pub(super) struct Placed {
    pub(super) invocation: String,
    pub(super) approval: Approval,
}

/// Has the agent place one order.
pub(super) async fn place(
    story: &mut Story,
    client: &Client,
    market: &Market,
) -> anyhow::Result<Placed> {
    let order = json!({ "symbol": "ETH", "side": "buy", "quantity": 0.5 });
    let mut input = order.clone();
    input["action"] = "order".into();

    let began = Instant::now();
    let waiting = invoke(client, &input).await?;
    story.since("order, until a person is asked", began);
    ensure!(
        waiting.state() == State::Waiting,
        "the order was to wait for a person, but: {}",
        line(&view::invocation::explain(&waiting))
    );
    let name = waiting
        .approvals
        .first()
        .context("the order waits, but the host names no approval")?;
    let request = GetApprovalRequest { name: name.clone() };
    let approval = client.approvals().get_approval(request).await?.into_inner();
    story.say(&format!(
        "   {} is WAITING. This is all of what it wants to send:",
        id(&waiting.name)
    ));
    story.say(&indented(&view::approval::full(&approval)));
    ensure!(
        market.orders().is_empty(),
        "the market received an order before anybody approved it"
    );

    story.ask("Send exactly this, once?").await?;
    let began = Instant::now();
    approve(&approval, client).await?;
    let ended = ended(&waiting.name, client).await?;
    story.since("order, from the yes to the end", began);
    let Some(Outcome::Success(success)) = &ended.outcome else {
        bail!(
            "the approved order failed: {}",
            line(&view::invocation::explain(&ended))
        );
    };
    story.say(&format!("   the agent's answer: {}", line(&success.output)));
    received(story, market, &approval, &order)?;
    Ok(Placed {
        invocation: ended.name,
        approval,
    })
}

/// Waits for the invocation's end, while the demo's person has nothing more to decide.
async fn ended(name: &str, client: &Client) -> anyhow::Result<Invocation> {
    let request = WatchInvocationRequest {
        name: name.to_owned(),
    };
    let mut events = client
        .invocations()
        .watch_invocation(request)
        .await?
        .into_inner();
    let mut last = None;
    while let Some(event) = events.message().await? {
        if let Some(Event::State(invocation)) = event.event {
            last = Some(invocation);
        }
    }
    last.context("the host told nothing of the invocation")
}

/// The market has to have seen exactly what was approved, and once.
fn received(
    story: &mut Story,
    market: &Market,
    approval: &Approval,
    order: &Json,
) -> anyhow::Result<()> {
    let orders = market.orders();
    let [received] = orders.as_slice() else {
        bail!("the market received {} orders instead of one", orders.len());
    };
    story.say(&format!(
        "   the market received, once: {} {} {}",
        received.method,
        received.path,
        line(&received.body)
    ));
    let target = format!("{}{}", market.origin, received.path);
    ensure!(
        received.method == approval.verb && target == approval.target,
        "the market received {} {target}, approved was {} {}",
        received.method,
        line(&approval.verb),
        line(&approval.target)
    );
    let body: Json = serde_json::from_str(&received.body).context("the order is no JSON")?;
    ensure!(
        body == *order,
        "the market received another order than the one that was approved"
    );
    story.fact("ordersReceived", orders.len());
    Ok(())
}
