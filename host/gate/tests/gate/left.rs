//! Commits that are answered with an error and are written all the same, and those that are on their
//! way while something else changes.

use nexus_gate::kind::MemoryWrite;
use nexus_gate::{
    DecideError, Policy, PolicyChange, PolicySource, Refusal, SHOWN_PER_AGENT, SetPolicyError,
    State, Verdict,
};
use nexus_store::{Commit, Table};

use crate::house::{House, alice, order, order_of, put};

const APPROVALS: &str = "approvals";
const EFFECTS: &str = "test_effects";

#[tokio::test]
async fn a_decision_that_landed_and_failed_frees_who_waits() {
    for verdict in [Verdict::Approve, Verdict::Deny] {
        for unread in [false, true] {
            let mut house = House::new().await;
            let (waiting, asked) = house.ask(order()).await;
            match unread {
                true => house.disk.land_unread(APPROVALS),
                false => house.disk.land(APPROVALS),
            }
            let failed = house.gate.decide(asked.id, verdict, None, &alice()).await;
            assert!(matches!(failed, Err(DecideError::Unavailable(_))));
            let again = house.gate.decide(asked.id, verdict, None, &alice()).await;
            let answer = waiting.await.unwrap();
            match verdict {
                Verdict::Approve => {
                    assert_eq!(again.unwrap().state, State::Approved);
                    // It is as good as any other.
                    let permit = answer.unwrap();
                    let payload = permit.action().payload.clone();
                    drop(permit.start(&payload).await.unwrap());
                    assert_eq!(house.approval(asked.id).await.state, State::Consumed);
                }
                Verdict::Deny => {
                    assert_eq!(again.unwrap().state, State::Denied);
                    assert_eq!(answer.unwrap_err(), Refusal::Denied(None));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_question_that_could_not_be_shown_is_shown_later() {
    let mut house = House::new().await;
    let (mut waiting, mut asked) = (Vec::new(), Vec::new());
    for number in 0..=SHOWN_PER_AGENT {
        waiting.push(house.bring::<nexus_gate::kind::Http>(order_of(number)));
        let state = match number < SHOWN_PER_AGENT {
            true => State::Pending,
            false => State::Queued,
        };
        asked.push(house.next(state).await.id);
    }
    // The decision is written, and what shows the next question is not.
    drop(house.disk.hold_answer(APPROVALS));
    house.disk.lose(APPROVALS);
    house.approve(asked[0]).await;
    assert_eq!(house.next(State::Pending).await.id, asked[SHOWN_PER_AGENT]);
    let shown = house.in_state(State::Pending).await;
    assert_eq!(shown.len(), SHOWN_PER_AGENT);
    assert!(house.in_state(State::Queued).await.is_empty());
}

const OTHER: &str = r#"
@id("other")
permit (principal, action, resource);
"#;

fn other() -> PolicyChange {
    PolicyChange {
        policy: Policy::parse(OTHER).unwrap(),
        source: PolicySource::Set,
        principal: alice(),
        replaces: None,
    }
}

#[tokio::test]
async fn what_starts_under_the_old_policy_has_started_when_the_new_one_is_set() {
    let house = House::new().await;
    let permit = house.bring::<MemoryWrite>(put()).await.unwrap().unwrap();
    let late = house.bring::<MemoryWrite>(put()).await.unwrap().unwrap();
    let payload = permit.action().payload.clone();
    let mut effect = Commit::new();
    effect.put(Table(EFFECTS), "a", "done");

    let mut hold = house.disk.hold_commit(EFFECTS);
    let starting = {
        let payload = payload.clone();
        tokio::spawn(async move { permit.commit(&payload, effect).await })
    };
    hold.reached().await;
    let old = house.gate.policy().version();
    let setting = {
        let gate = house.gate.clone();
        tokio::spawn(async move { gate.set_policy(other()).await })
    };
    while house.gate.policy().version() == old {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!setting.is_finished(), "something is about to start still");
    drop(hold);
    starting.await.unwrap().unwrap();
    setting.await.unwrap().unwrap();
    let refused = late.start(&payload).await;
    assert!(matches!(
        refused,
        Err(nexus_gate::StartError::PolicyChanged)
    ));
}

#[tokio::test]
async fn a_policy_that_landed_and_failed_is_in_force() {
    let house = House::new().await;
    house.disk.land("policies");
    let failed = house.gate.set_policy(other()).await;
    assert!(matches!(failed, Err(SetPolicyError::Unavailable(_))));
    assert_eq!(house.gate.policy().text(), OTHER);
    house.disk.lose("policies");
    let change = PolicyChange {
        policy: Policy::shipped(),
        ..other()
    };
    assert!(house.gate.set_policy(change).await.is_err());
    assert_eq!(house.gate.policy().text(), OTHER);
}
