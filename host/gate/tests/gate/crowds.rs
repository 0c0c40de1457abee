//! How much an agent may ask, and how long what is over is kept.

use nexus_gate::kind::Http;
use nexus_gate::{Refusal, SHOWN_PER_AGENT, State, Verdict};
use nexus_store::{Scan, Store, Table};

use crate::house::{House, alice, order_of};

const DENY: Verdict = Verdict::Deny;

#[tokio::test]
async fn an_agent_has_so_many_questions_open_and_no_more() {
    let most = SHOWN_PER_AGENT + 2;
    let mut house = House::with(|options| options.questions_per_agent = most).await;
    let mut waiting = Vec::new();
    for number in 0..most {
        waiting.push(house.bring::<Http>(order_of(number)));
        let shown = number < SHOWN_PER_AGENT;
        house
            .next(if shown { State::Pending } else { State::Queued })
            .await;
    }
    let refused = house.bring::<Http>(order_of(most)).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Crowded(_))), "{refused:?}");
    assert_eq!(house.gate.asking(), SHOWN_PER_AGENT);
    // One that is over makes room.
    let id = house.in_state(State::Pending).await[0].id;
    house.gate.decide(id, DENY, None, &alice()).await.unwrap();
    waiting.push(house.bring::<Http>(order_of(most)));
    house.next(State::Queued).await;
    waiting.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn an_agent_asks_so_often_within_an_hour_and_no_more() {
    let mut house = House::with(|options| options.questions_per_agent = 2).await;
    for number in 0..4 {
        let (waiting, asked) = house.ask(order_of(number)).await;
        house
            .gate
            .decide(asked.id, DENY, None, &alice())
            .await
            .unwrap();
        waiting.await.unwrap().unwrap_err();
    }
    let refused = house.bring::<Http>(order_of(4)).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Crowded(_))), "{refused:?}");
    assert_eq!(house.gate.asking(), 0);
}

#[tokio::test]
async fn what_is_over_is_forgotten_in_time_and_what_is_open_stays() {
    let mut house = House::new().await;
    let (waiting, denied) = house.ask(order_of(0)).await;
    house
        .gate
        .decide(denied.id, DENY, None, &alice())
        .await
        .unwrap();
    waiting.await.unwrap().unwrap_err();
    let (waiting, open) = house.ask(order_of(1)).await;
    let gate = house.gate.clone();
    assert_eq!(gate.forget_approvals(denied.deadline_ms).await.unwrap(), 0);
    assert!(gate.approval(denied.id).await.unwrap().is_some());
    assert_eq!(gate.forget_approvals(u64::MAX).await.unwrap(), 1);
    assert!(gate.approval(denied.id).await.unwrap().is_none());
    for table in [
        "approvals",
        "approval_payloads",
        "approvals_by_state",
        "approvals_by_agent",
    ] {
        let all = Scan {
            limit: 9,
            ..Scan::default()
        };
        let rows = house.disk.scan(Table(table), all).await.unwrap();
        assert_eq!(rows.len(), 1, "{table}");
    }
    house.approve(open.id).await;
    drop(waiting.await.unwrap().unwrap());
}
