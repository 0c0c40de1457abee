//! The audit trail tells the order from question to end, and nobody has changed it.

use std::time::Instant;

use anyhow::{bail, ensure};
use nexus_proto::v1::Event;

use super::order::Placed;
use crate::{
    cli::{audit, connection::Client, view},
    demo::story::Story,
};

/// What the trail has to say of an approved order, in this order.
const EXPECTED: [&str; 4] = [
    "approval_requested",
    "approval_decided",
    "effect_started",
    "effect_finished",
];

pub(super) async fn prove(
    story: &mut Story,
    client: &Client,
    placed: &Placed,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let events = audit::of_invocation(&placed.invocation, client).await?;
    for line in view::audit::list(&events).lines() {
        story.say(&format!("   {line}"));
    }
    in_order(&events, placed)?;
    let verified = audit::verify_chain(client, None).await?;
    story.since("audit trail, fetched and verified", began);
    let faults = verified.faults();
    for fault in &faults {
        story.say(&format!("   FAULT {fault}"));
    }
    ensure!(
        verified.is_sound(),
        "the audit chain does not hold: {} faults",
        faults.len()
    );
    story.say(&format!(
        "   {} records, every one linked to the one before: the chain holds",
        verified.records()
    ));
    story.fact("auditRecords", verified.records());
    story.fact("auditSound", true);
    Ok(())
}

/// Fails unless the order was asked for, decided, begun and ended, once each and in this order.
fn in_order(events: &[Event], placed: &Placed) -> anyhow::Result<()> {
    let told: Vec<&str> = events
        .iter()
        .filter(|event| {
            event.approval == placed.approval.name || event.action_digest == placed.approval.digest
        })
        .map(|event| event.kind.as_str())
        .filter(|kind| EXPECTED.contains(kind))
        .collect();
    if told != EXPECTED {
        bail!(
            "the audit trail was to tell of the order {}, but tells {}",
            EXPECTED.join(", "),
            told.join(", ")
        );
    }
    Ok(())
}
