//! T27, T29, T31: what a person approved is what happens, once, under the policy and by the people that
//! are in force when it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_audit::EventKind;
use nexus_gate::kind::Http;
use nexus_gate::{
    Action, Approvers, DecideError, Floor, Payload, Permit, Policy, Principal, StartError, State,
    Verdict,
};
use nexus_tests::amount;
use serde_json::json;

use super::house::{House, alice, order, order_of};

async fn approved(house: &mut House, action: Action) -> Permit<Http> {
    let waiting = house.bring::<Http>(action);
    let asked = house.next(State::Pending).await;
    house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap();
    waiting.await.unwrap().unwrap()
}

/// The payload with one thing changed, another for each number.
fn mutated(number: usize) -> Payload {
    let mut payload = order().payload;
    let part = &mut payload.parts[0];
    let at = number / 8;
    match number % 8 {
        // One bit of the body, and one byte more or less of it.
        0 => {
            let mut bytes = part.bytes.to_vec();
            let at = at % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            part.bytes = bytes.into();
        }
        1 => part.bytes = part.bytes.slice(..at % part.bytes.len()),
        2 => {
            let mut bytes = part.bytes.to_vec();
            bytes.insert(at % bytes.len(), b' ');
            part.bytes = bytes.into();
        }
        // Other words, of the same length or not.
        3 => part.bytes = format!(r#"{{"symbol":"ETH","amount":{}}}"#, number + 2).into(),
        4 => part.media_type = format!("application/json;v={number}"),
        5 => part.name = format!("body{number}"),
        6 => payload.fields["headers"] = json!([["x", number]]),
        _ => payload = payload.with_part(format!("part-{number}"), "text/plain", ""),
    }
    payload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_changed_action_is_refused_whatever_was_changed() {
    // Beside each other: most of the time goes into records on their way to the disk.
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| tokio::spawn(changed_actions(lane, amount(1_000, 10_000))))
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
}

const LANES: usize = 8;

/// Every `LANES`th of so many changes, from this one on, in a gate of its own.
async fn changed_actions(lane: usize, rounds: usize) {
    let mut house = House::new().await;
    for number in (lane..rounds).step_by(LANES) {
        let permit = approved(&mut house, order()).await;
        let changed = mutated(number);
        assert_ne!(changed, order().payload);
        let refused = permit.start(&changed).await;
        assert!(
            matches!(refused, Err(StartError::Changed { .. })),
            "{number}: {refused:?}"
        );
        house.next(State::Cancelled).await;
    }
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t29_of_64_decisions_at_once_one_wins_each_time() {
    let mut house = House::new().await;
    let rounds = amount(100, 1_000);
    for round in 0..rounds {
        let waiting = house.bring::<Http>(order_of(round));
        let asked = house.next(State::Pending).await;
        let decisions: Vec<_> = (0..64)
            .map(|number| {
                let gate = house.gate.clone();
                let who = Principal::new(format!("person-{number}"));
                let verdict = match (number + round) % 2 {
                    0 => Verdict::Approve,
                    _ => Verdict::Deny,
                };
                tokio::spawn(async move { gate.decide(asked.id, verdict, None, &who).await })
            })
            .collect();
        let mut won = Vec::new();
        for decision in decisions {
            match decision.await.unwrap() {
                Ok(approval) => won.push(approval),
                Err(error) => {
                    assert!(matches!(error, DecideError::AlreadyDecided(_)), "{error}");
                }
            }
        }
        assert_eq!(won.len(), 1, "{round}");
        let yes = won[0].decisions[0].approved;
        assert_eq!(waiting.await.unwrap().is_ok(), yes);
    }
}

/// Everything that can be taken away between a yes and its effect.
#[derive(Clone, Default)]
struct Rights {
    locked: Arc<AtomicBool>,
    dismissed: Arc<AtomicBool>,
}

impl Floor for Rights {
    fn check(&self, _: &Action) -> Result<(), String> {
        match self.locked.load(Ordering::SeqCst) {
            true => Err("locked".to_owned()),
            false => Ok(()),
        }
    }
}

impl Approvers for Rights {
    fn may_decide(&self, _: &Principal) -> bool {
        !self.dismissed.load(Ordering::SeqCst)
    }

    fn may_another(&self, _: &Principal) -> bool {
        false
    }
}

#[tokio::test]
async fn t31_what_lost_its_right_between_yes_and_effect_does_not_happen() {
    let rights = Rights::default();
    let (floor, approvers) = (Arc::new(rights.clone()), Arc::new(rights.clone()));
    let mut house = House::with(|options| {
        options.floor = floor;
        options.approvers = approvers;
    })
    .await;
    for round in 0..amount(100, 1_000) {
        let permit = approved(&mut house, order_of(round)).await;
        let payload = order_of(round).payload;
        match round % 4 {
            0 => {
                let text = format!("{}\n// {round}\n", nexus_gate::SHIPPED);
                house.set_policy(Policy::parse(&text).unwrap()).await;
                let refused = permit.start(&payload).await;
                assert!(matches!(refused, Err(StartError::PolicyChanged)));
            }
            1 => {
                rights.locked.store(true, Ordering::SeqCst);
                let refused = permit.start(&payload).await;
                assert!(matches!(refused, Err(StartError::Forbidden(_))));
                rights.locked.store(false, Ordering::SeqCst);
            }
            2 => {
                rights.dismissed.store(true, Ordering::SeqCst);
                let refused = permit.start(&payload).await;
                assert!(matches!(refused, Err(StartError::ApproverGone(_))));
                rights.dismissed.store(false, Ordering::SeqCst);
            }
            _ => {
                let approval = house.in_state(State::Approved).await.remove(0);
                house.gate.cancel(approval.id, "withdrawn").await.unwrap();
                let refused = permit.start(&payload).await;
                assert!(matches!(refused, Err(StartError::Spent)));
            }
        }
        // Before the next: a permit that was refused gives up its approval by itself.
        while !house.in_state(State::Approved).await.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
    assert!(house.in_state(State::Consumed).await.is_empty());
}
