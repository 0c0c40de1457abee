//! The life of a question: who sees it, who waits, and what withdraws it.

use nexus_proto::v1;
use nexus_proto::v1::Verdict;
use nexus_proto::v1::approval::State;
use nexus_proto::v1::invocation::{Outcome, State as Life};
use nexus_tests::client::reason;
use nexus_tests::desk::{Desk, last};
use nexus_tests::probe;
use serde_json::{Value, json};
use tonic::Code;

fn request(steps: &[Value]) -> v1::InvokeAgentRequest {
    v1::InvokeAgentRequest {
        name: "agents/trader".to_owned(),
        input: json!(steps).to_string(),
        ..v1::InvokeAgentRequest::default()
    }
}

#[tokio::test]
async fn a_watcher_sees_what_is_pending_and_then_each_change() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (_, first) = desk.park(&desk.order(1)).await?;
    let mut late = desk.client.watch_approvals().await?;
    assert_eq!(
        late.asked("trader").await?.name,
        first.name,
        "it was there before the watch"
    );
    let (_, second) = desk.park(&desk.order(2)).await?;
    assert_eq!(late.asked("trader").await?.name, second.name);
    desk.approve(&first).await?;
    late.becomes(&first.name, State::Approved).await?;
    late.becomes(&first.name, State::Consumed).await?;
    desk.client.decide(&second.name, Verdict::Deny).await?;
    late.becomes(&second.name, State::Denied).await?;

    let list = v1::ListApprovalsRequest {
        agent: "agents/trader".to_owned(),
        ..v1::ListApprovalsRequest::default()
    };
    let listed = desk
        .client
        .approvals
        .list_approvals(list)
        .await?
        .into_inner();
    let names: Vec<_> = listed.approvals.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names[..2], [second.name, first.name], "newest first");
    let pending = v1::ListApprovalsRequest {
        state: State::Pending.into(),
        ..v1::ListApprovalsRequest::default()
    };
    let pending = desk
        .client
        .approvals
        .list_approvals(pending)
        .await?
        .into_inner();
    assert!(pending.approvals.is_empty(), "{pending:?}");
    Ok(())
}

#[tokio::test]
async fn approvals_come_in_pages_without_a_gap() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let mut asked = Vec::new();
    for number in 0..5 {
        asked.insert(0, desk.park(&desk.order(number)).await?.1.name);
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let list = v1::ListApprovalsRequest {
            page_size: 2,
            page_token: token,
            agent: "agents/trader".to_owned(),
            state: State::Pending.into(),
        };
        let page = desk
            .client
            .approvals
            .list_approvals(list)
            .await?
            .into_inner();
        assert!(page.approvals.len() <= 2);
        seen.extend(page.approvals.into_iter().map(|approval| approval.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, asked);
    Ok(())
}

#[tokio::test]
async fn requests_sent_side_by_side_are_asked_side_by_side_and_answered_in_any_order()
-> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let mut steps = desk.sending("first");
    steps.extend(desk.sending("second"));
    steps.extend([probe::waiting("first"), probe::waiting("second")]);
    let started = desk.start(&steps).await?;
    let mut asked = [
        desk.approvals.asked("trader").await?,
        desk.approvals.asked("trader").await?,
    ];
    asked.sort_by_key(|approval| approval.sequence);
    assert!(asked[0].rendering.contains("first") && asked[1].rendering.contains("second"));
    let waiting = desk.client.invocation(&started.name).await?;
    assert_eq!(waiting.state(), Life::Waiting);
    assert_eq!(waiting.approvals.len(), 2, "{waiting:?}");

    // The second goes out while the guest still waits for the first.
    desk.approve(&asked[1]).await?;
    desk.approvals
        .becomes(&asked[1].name, State::Consumed)
        .await?;
    let waiting = desk.client.invocation(&started.name).await?;
    assert_eq!(waiting.state(), Life::Waiting, "the first is undecided");
    assert_eq!(waiting.approvals, [asked[0].name.clone()]);
    desk.client.decide(&asked[0].name, Verdict::Deny).await?;
    let output = desk.client.result(&started.name).await?;
    let answers = output.as_array().map(Vec::as_slice).unwrap_or_default();
    let [.., first, second] = answers else {
        panic!("{output}")
    };
    assert_eq!(first["error"], "denied", "{output}");
    assert_eq!(second["ok"]["status"], 200, "{output}");
    assert_eq!(desk.bodies(), ["second"]);
    Ok(())
}

#[tokio::test]
async fn a_request_that_the_agent_drops_is_withdrawn() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    // The guest drops the first only once somebody has decided the second.
    let mut steps = desk.sending("dropped");
    steps.extend(desk.sending("kept"));
    steps.push(probe::waiting("kept"));
    steps.push(json!({ "call": "drop", "on": "pdropped" }));
    let started = desk.start(&steps).await?;
    let mut asked = [
        desk.approvals.asked("trader").await?,
        desk.approvals.asked("trader").await?,
    ];
    asked.sort_by_key(|approval| approval.sequence);
    desk.approve(&asked[1]).await?;
    let output = desk.client.result(&started.name).await?;
    assert_eq!(last(&output)["ok"], true, "{output}");
    let gone = desk
        .approvals
        .becomes(&asked[0].name, State::Cancelled)
        .await?;
    assert!(!gone.cancel_reason.is_empty());
    let late = desk.client.decide(&asked[0].name, Verdict::Approve).await;
    let late = late.expect_err("it is withdrawn");
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert_eq!(desk.bodies(), ["kept"]);
    Ok(())
}

#[tokio::test]
async fn cancelling_an_invocation_withdraws_its_questions() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (waiting, approval) = desk.park(&desk.order(1)).await?;
    let cancel = v1::CancelInvocationRequest {
        name: waiting.name.clone(),
        reason: "no longer wanted".to_owned(),
    };
    desk.client
        .invocations
        .cancel_invocation(cancel.clone())
        .await?;
    let ended = desk.client.ended(&waiting.name).await?;
    assert_eq!(ended.state(), Life::Cancelled);
    let Some(Outcome::Cancellation(cancellation)) = &ended.outcome else {
        panic!("{ended:?}")
    };
    assert!(
        cancellation.reason.contains("no longer wanted"),
        "{cancellation:?}"
    );
    assert!(ended.approvals.is_empty(), "{ended:?}");
    desk.approvals
        .becomes(&approval.name, State::Cancelled)
        .await?;
    let late = desk.client.decide(&approval.name, Verdict::Approve).await;
    assert_eq!(
        late.expect_err("withdrawn").code(),
        Code::FailedPrecondition
    );
    // What has ended stays as it ended.
    let again = desk.client.invocations.cancel_invocation(cancel).await?;
    assert_eq!(again.into_inner().outcome, ended.outcome);
    assert!(desk.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_client_that_waits_for_the_decision_gets_the_end() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let request = v1::InvokeAgentRequest {
        wait_for_decision: true,
        ..request(&desk.order(1))
    };
    let mut patient = desk.host.operator().await?;
    let call = tokio::spawn(async move { patient.invocations.invoke_agent(request).await });
    let approval = desk.approvals.asked("trader").await?;
    assert!(!call.is_finished(), "it returned before the decision");
    desk.approve(&approval).await?;
    let ended = call.await??.into_inner();
    assert_eq!(ended.state(), Life::Succeeded, "{ended:?}");
    assert_eq!(desk.origin.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let request = v1::InvokeAgentRequest {
        wait_for_decision: true,
        ..request(&desk.order(1))
    };
    let mut leaving = desk.host.operator().await?;
    let call = tokio::spawn(async move { leaving.invocations.invoke_agent(request).await });
    let approval = desk.approvals.asked("trader").await?;
    // The call and its connection end.
    call.abort();
    assert!(call.await.is_err_and(|error| error.is_cancelled()));
    let waiting = desk.client.invocation(&approval.invocation).await?;
    assert_eq!(waiting.state(), Life::Waiting);
    desk.approve(&approval).await?;
    let output = desk.client.result(&approval.invocation).await?;
    assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    assert_eq!(desk.origin.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_repeated_request_id_finds_the_invocation_and_starts_nothing() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let request = v1::InvokeAgentRequest {
        request_id: "order-1".to_owned(),
        ..request(&desk.order(1))
    };
    let first = desk
        .client
        .invocations
        .invoke_agent(request.clone())
        .await?;
    let first = first.into_inner();
    let again = desk
        .client
        .invocations
        .invoke_agent(request.clone())
        .await?;
    assert_eq!(again.into_inner().name, first.name, "while it waits");
    let approval = desk.client.approval(&first.approvals[0]).await?;
    desk.approve(&approval).await?;
    let ended = desk.client.ended(&first.name).await?;
    let again = desk
        .client
        .invocations
        .invoke_agent(request.clone())
        .await?;
    let again = again.into_inner();
    assert_eq!(
        (again.name, again.outcome),
        (first.name.clone(), ended.outcome),
        "after its end"
    );
    assert_eq!(desk.origin.received().len(), 1);

    // Another principal's id is another id.
    let mut other = desk.host.client("bob", v1::Role::Caller).await?;
    let theirs = other.invocations.invoke_agent(request).await?.into_inner();
    assert_ne!(theirs.name, first.name);
    assert_eq!(theirs.principal, "bob");
    Ok(())
}

#[tokio::test]
async fn a_caller_sees_no_invocations_but_its_own() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (theirs, _) = desk.park(&desk.order(1)).await?;
    let mut caller = desk.host.client("bob", v1::Role::Caller).await?;
    let mine = caller.invoke("trader", &json!(desk.order(2))).await?;
    assert_eq!(mine.state(), Life::Waiting);

    let name = theirs.name.clone();
    let get = caller.invocation(&name).await;
    let watch = v1::WatchInvocationRequest { name: name.clone() };
    let watch = caller.invocations.watch_invocation(watch).await;
    let cancel = v1::CancelInvocationRequest {
        name: name.clone(),
        reason: "mine now".to_owned(),
    };
    let cancel = caller.invocations.cancel_invocation(cancel).await;
    let codes = [get.err(), watch.err(), cancel.err()].map(|status| status.map(|s| s.code()));
    assert_eq!(codes, [Some(Code::NotFound); 3], "as if it were not there");
    let list = caller
        .invocations
        .list_invocations(v1::ListInvocationsRequest::default());
    let listed = list.await?.into_inner().invocations;
    let names: Vec<_> = listed.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, [mine.name.as_str()]);
    // Who asked is not who decides.
    let refused = caller.decide(&mine.approvals[0], Verdict::Approve).await;
    assert_eq!(reason(&refused.expect_err("a caller")), "ROLE_NOT_ALLOWED");

    // Those who decide see what led to the question.
    let mut approver = desk.host.client("carol", v1::Role::Approver).await?;
    assert_eq!(approver.invocation(&mine.name).await?.principal, "bob");
    assert_eq!(
        desk.client.invocation(&theirs.name).await?.state(),
        Life::Waiting
    );
    Ok(())
}

#[tokio::test]
async fn five_questions_of_an_agent_are_shown_and_the_rest_queue() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let mut steps = Vec::new();
    for number in 0..7 {
        steps.extend(desk.sending(&format!("order-{number}")));
    }
    steps.extend((0..7).map(|number| probe::waiting(&format!("order-{number}"))));
    let started = desk.start(&steps).await?;
    let (mut shown, mut queued) = (Vec::new(), Vec::new());
    while shown.len() + queued.len() < 7 {
        let asked = desk
            .approvals
            .find(|found| found.agent == "agents/trader")
            .await?;
        match asked.state() {
            State::Pending => shown.push(asked.name),
            State::Queued => queued.push(asked.name),
            other => panic!("{other:?}: {asked:?}"),
        }
    }
    assert_eq!((shown.len(), queued.len()), (5, 2));
    // A decision makes room for the next one.
    for _ in 0..7 {
        let next = shown.remove(0);
        desk.client.decide(&next, Verdict::Approve).await?;
        if !queued.is_empty() {
            let moved = desk.approvals.asked("trader").await?.name;
            assert!(queued.contains(&moved), "{moved}");
            queued.retain(|name| *name != moved);
            shown.push(moved);
        }
    }
    let output = desk.client.result(&started.name).await?;
    assert_eq!(last(&output)["ok"]["status"], 200, "{output}");
    let mut bodies = desk.bodies();
    bodies.sort();
    let all: Vec<_> = (0..7).map(|number| format!("order-{number}")).collect();
    assert_eq!(bodies, all, "each went out once");
    Ok(())
}

#[tokio::test]
async fn a_person_is_told_that_the_agent_has_read_what_others_wrote() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let (_, before) = desk.park(&desk.order(1)).await?;
    assert!(before.labels.is_empty(), "{:?}", before.labels);
    let mut steps = probe::sending("read", &desk.origin.url(), "get", "/news", &[]);
    steps.push(probe::waiting("read"));
    steps.extend(desk.order(2));
    let (_, after) = desk.park(&steps).await?;
    assert_eq!(after.labels, ["untrusted"]);
    assert!(
        after
            .rendering
            .lines()
            .any(|line| line == "labels: untrusted")
    );
    Ok(())
}

#[tokio::test]
async fn an_agent_s_permissions_are_shown_before_it_is_there() -> anyhow::Result<()> {
    let mut desk = Desk::new().await?;
    let permission = probe::http(&desk.origin.url());
    let component = probe::component("newcomer", &[&permission]);
    let review = desk
        .client
        .upload(&component, v1::DeployAgentMetadata::default())
        .await?;
    assert_eq!(review.state(), v1::deploy_agent_response::State::Review);
    assert!(review.agent.is_none(), "{:?}", review.agent);
    let approval = desk.client.approval(&review.approval).await?;
    assert_eq!(approval.kind(), v1::ActionKind::Publish);
    assert_eq!(approval.agent, "agents/newcomer");
    assert_eq!(approval.invocation, "", "no run of an agent asks");
    assert!(
        approval.rendering.contains(&desk.origin.url()),
        "{}",
        approval.rendering
    );
    assert!(
        approval.rendering.contains("DELETE"),
        "{}",
        approval.rendering
    );

    let missing = desk.client.invoke("newcomer", &json!([])).await;
    let missing = missing.expect_err("in review");
    assert_eq!(missing.code(), Code::FailedPrecondition, "{missing}");
    assert!(missing.message().contains(&approval.name), "{missing}");
    desk.client.decide(&approval.name, Verdict::Deny).await?;
    let accept = v1::AcceptAgentRequest {
        name: "agents/newcomer".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    let refused = desk.client.agents.accept_agent(accept).await;
    assert!(refused.is_err(), "it was denied");
    let missing = desk.client.invoke("newcomer", &json!([])).await;
    assert_eq!(missing.expect_err("denied").code(), Code::NotFound);
    Ok(())
}

#[tokio::test]
async fn whoever_watches_an_invocation_hears_of_each_question_once() -> anyhow::Result<()> {
    use v1::invocation_event::Event;

    let mut desk = Desk::new().await?;
    // One question is put before the watch begins, and one after.
    let mut steps = desk.order(1);
    steps.extend(desk.sending("second"));
    steps.push(probe::waiting("second"));
    let (waiting, first) = desk.park(&steps).await?;
    let watch = v1::WatchInvocationRequest {
        name: waiting.name.clone(),
    };
    let mut watch = desk
        .client
        .invocations
        .watch_invocation(watch)
        .await?
        .into_inner();
    let (mut asked, mut states) = (Vec::new(), Vec::new());
    while let Some(event) = watch.message().await? {
        match event.event {
            Some(Event::Approval(name)) => {
                desk.client.decide(&name, Verdict::Approve).await?;
                asked.push(name);
            }
            Some(Event::State(invocation)) => states.push(invocation.state()),
            _ => {}
        }
    }
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0], first.name);
    assert_eq!(states.first(), Some(&Life::Waiting));
    assert_eq!(states.last(), Some(&Life::Succeeded));
    assert_eq!(desk.origin.received().len(), 2);
    Ok(())
}
