//! T30: an agent that floods its approvers is shown five questions at a time, and identical ones as
//! one.

use nexus_proto::v1;
use nexus_proto::v1::approval::State;
use nexus_tests::desk::Desk;
use nexus_tests::probe;
use serde_json::{Value, json};

/// The steps of one invocation that sends this many writes and then waits for all of them.
fn flood(desk: &Desk, writes: usize, body: impl Fn(usize) -> String) -> Vec<Value> {
    let url = desk.origin.url();
    let mut steps = vec![json!({ "call": "http.origin.open", "url": url, "as": "o" })];
    for number in 0..writes {
        let request = format!("r{number}");
        steps.extend([
            json!({ "call": "http.origin.request", "on": "o", "method": "post", "target": "/orders", "as": request }),
            json!({ "call": "http.request.body", "on": request, "value": body(number) }),
            json!({ "call": "http.request.send", "on": request, "as": format!("p{number}") }),
        ]);
    }
    steps.extend((0..writes).map(|number| probe::waiting(&number.to_string())));
    steps
}

/// Waits until all its questions are on record, and counts those that people are shown.
async fn shown(desk: &mut Desk, writes: usize) -> anyhow::Result<(usize, v1::Approval)> {
    let (mut seen, mut prompts, mut first) = (0, 0, None);
    while seen < writes {
        let asked = desk
            .approvals
            .find(|found| matches!(found.state(), State::Pending | State::Queued))
            .await?;
        seen += 1;
        if asked.state() == State::Pending {
            prompts += 1;
            first.get_or_insert(asked);
        }
    }
    Ok((prompts, first.unwrap_or_default()))
}

#[tokio::test]
async fn t30_a_flood_of_a_thousand_writes_is_five_prompts() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let steps = flood(&desk, 1_000, |number| number.to_string());
    let started = desk.start(&steps).await?;
    let (prompts, _) = shown(&mut desk, 1_000).await?;
    assert_eq!(prompts, 5);
    let pending = v1::ListApprovalsRequest {
        state: State::Pending.into(),
        page_size: 1_000,
        ..v1::ListApprovalsRequest::default()
    };
    let pending = desk.client.approvals.list_approvals(pending).await?;
    assert_eq!(pending.into_inner().approvals.len(), 5);
    let cancel = v1::CancelInvocationRequest {
        name: started.name.clone(),
        reason: "a flood".to_owned(),
    };
    desk.client.invocations.cancel_invocation(cancel).await?;
    desk.client.ended(&started.name).await?;
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn t30_a_flood_of_the_same_is_one_prompt_with_a_count() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let steps = flood(&desk, 200, |_| "the same".to_owned());
    let started = desk.start(&steps).await?;
    let (prompts, first) = shown(&mut desk, 200).await?;
    assert_eq!(prompts, 1);
    let first = desk.client.approval(&first.name).await?;
    assert_eq!(first.identical_requests, 199);
    let no = v1::DecideApprovalRequest {
        name: first.name.clone(),
        verdict: v1::Verdict::Deny.into(),
        digest: first.digest,
        identical_requests: first.identical_requests,
        ..v1::DecideApprovalRequest::default()
    };
    desk.client.approvals.decide_approval(no).await?;
    let output = desk.client.result(&started.name).await?;
    let answers = output.as_array().map(Vec::as_slice).unwrap_or_default();
    let last = answers.last().cloned().unwrap_or_default();
    assert_eq!(last["error"], "denied", "{last}");
    assert!(desk.origin.received().is_empty());
    Ok(())
}
