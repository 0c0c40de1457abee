//! What was approved is what happens, or nothing does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use nexus_audit::EventKind;
use nexus_gate::kind::{Http, MemoryRead, MemoryWrite};
use nexus_gate::{
    Action, DecideError, Floor, Payload, Permit, Policy, Refusal, StartError, State, Verdict,
};
use nexus_store::{Commit, Store, Table};
use serde_json::json;

use crate::house::{House, action, alice, order, put};

async fn approved(house: &mut House) -> Permit<Http> {
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    waiting.await.unwrap().unwrap()
}

#[tokio::test]
async fn any_change_of_the_payload_is_refused_and_voids_the_approval() {
    let mut house = House::new().await;
    let good = order().payload;
    let body = good.parts[0].bytes.clone();
    let mut mutations: Vec<Payload> = vec![
        Payload::new(good.fields.clone()),
        Payload {
            fields: json!({}),
            ..good.clone()
        },
        Payload {
            fields: json!({ "headers": [["content-type", "application/xml"]] }),
            ..good.clone()
        },
        Payload {
            fields: json!({ "headers": [["content-type", "application/json"]], "x": 1 }),
            ..good.clone()
        },
        Payload {
            fields: json!({ "x": 0.5 }),
            ..good.clone()
        },
        good.clone().with_part("second", "text/plain", ""),
    ];
    let mut part = |change: fn(&mut nexus_gate::Part)| {
        let mut payload = good.clone();
        change(&mut payload.parts[0]);
        mutations.push(payload);
    };
    part(|part| part.name = "other".to_owned());
    part(|part| part.media_type = "text/plain".to_owned());
    part(|part| part.bytes = Bytes::new());
    for at in 0..body.len() {
        let mut bytes = body.to_vec();
        bytes[at] ^= 1;
        let mut payload = good.clone();
        payload.parts[0].bytes = bytes.into();
        mutations.push(payload);
    }
    for payload in mutations {
        let permit = approved(&mut house).await;
        let error = permit.start(&payload).await.unwrap_err();
        assert!(
            matches!(error, StartError::Changed { .. }),
            "{payload:?}: {error}"
        );
        house.next(State::Cancelled).await;
    }
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
    assert!(house.in_state(State::Consumed).await.is_empty());
}

#[tokio::test]
async fn the_same_action_asked_twice_has_two_digests() {
    let mut house = House::new().await;
    // The very same call, down to invocation and sequence: only the nonce tells the questions apart.
    let order = order();
    let first = house.bring::<Http>(order.clone());
    let one = house.next(State::Pending).await;
    first.abort();
    house.next(State::Cancelled).await;
    let second = house.bring::<Http>(order);
    let two = house.next(State::Pending).await;
    assert_ne!(one.digest, two.digest);
    let stale = house
        .gate
        .decide(two.id, Verdict::Approve, Some(one.digest), &alice())
        .await;
    assert!(stale.is_err(), "the digest of the first names the first");
    second.abort();
}

/// Alice, until she has lost the right.
#[derive(Clone, Default)]
pub(crate) struct Approvers(pub(crate) Arc<AtomicBool>);

impl nexus_gate::Approvers for Approvers {
    fn may_decide(&self, principal: &nexus_gate::Principal) -> bool {
        *principal != alice() || !self.0.load(Ordering::SeqCst)
    }

    fn may_another(&self, _: &nexus_gate::Principal) -> bool {
        false
    }
}

#[tokio::test]
async fn the_word_of_one_who_may_no_longer_decide_starts_nothing() {
    let gone = Approvers::default();
    let approvers = Arc::new(gone.clone());
    let mut house = House::with(|options| options.approvers = approvers).await;
    let permit = approved(&mut house).await;
    let (waiting, asked) = house.ask(order()).await;
    gone.0.store(true, Ordering::SeqCst);
    assert_eq!(
        permit.start(&order().payload).await.unwrap_err(),
        StartError::ApproverGone(alice())
    );
    let refused = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, DecideError::NotAnApprover(_)),
        "{refused}"
    );
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
    waiting.abort();
}

#[tokio::test]
async fn free_permits_are_bound_as_well() {
    let house = House::new().await;
    let other = Payload::new(json!({})).with_part("value", "text/plain", "18");
    let changed = |error| matches!(error, StartError::Changed { .. });
    let permit = house.gate.check::<MemoryWrite>(put(), &()).await.unwrap();
    assert!(changed(permit.start(&other).await.unwrap_err()));
    let permit = house.gate.check::<MemoryWrite>(put(), &()).await.unwrap();
    assert!(changed(
        permit.commit(&other, Commit::new()).await.unwrap_err()
    ));
    let permit = house
        .gate
        .check::<MemoryRead>(action("memory", "get", "kb-08/x"), &())
        .await
        .unwrap();
    assert!(changed(permit.read(&other).await.unwrap_err()));
    let permit = house.gate.check::<MemoryWrite>(put(), &()).await.unwrap();
    assert_eq!(
        permit.read(&put().payload).await.unwrap_err(),
        StartError::NotARead
    );
}

#[tokio::test]
async fn another_policy_voids_what_the_old_one_permitted() {
    let mut house = House::new().await;
    let approved = approved(&mut house).await;
    let free = house.gate.check::<MemoryWrite>(put(), &()).await.unwrap();
    let waiting = house.bring::<Http>(order());
    house.next(State::Pending).await;
    let lenient = Policy::parse(r#"@id("all") permit (principal, action, resource);"#).unwrap();
    house.set_policy(lenient).await;
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Cancelled);
    assert_eq!(
        approved.start(&order().payload).await.unwrap_err(),
        StartError::PolicyChanged
    );
    assert_eq!(
        free.start(&put().payload).await.unwrap_err(),
        StartError::PolicyChanged
    );
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
    assert!(house.in_state(State::Approved).await.is_empty());
    // What is asked anew is asked of the new one.
    drop(house.gate.check::<Http>(order(), &()).await.unwrap());
}

#[derive(Clone, Default)]
struct Lock(Arc<AtomicBool>);

impl Floor for Lock {
    fn check(&self, _: &Action) -> Result<(), String> {
        if self.0.load(Ordering::SeqCst) {
            Err("locked".to_owned())
        } else {
            Ok(())
        }
    }
}

#[tokio::test]
async fn the_floor_is_asked_again_when_the_effect_starts() {
    let lock = Lock::default();
    let floor = Arc::new(lock.clone());
    let mut house = House::with(|options| options.floor = floor).await;
    let approved = approved(&mut house).await;
    let free = house.gate.check::<MemoryWrite>(put(), &()).await.unwrap();
    lock.0.store(true, Ordering::SeqCst);
    let locked = StartError::Forbidden("locked".to_owned());
    assert_eq!(approved.start(&order().payload).await.unwrap_err(), locked);
    assert_eq!(
        free.commit(&put().payload, Commit::new())
            .await
            .unwrap_err(),
        locked
    );
    house.next(State::Cancelled).await;
}

#[tokio::test]
async fn an_approval_withdrawn_after_the_yes_starts_nothing() {
    let mut house = House::new().await;
    let permit = approved(&mut house).await;
    let approval = house.in_state(State::Approved).await.remove(0);
    house
        .gate
        .cancel(approval.id, "changed my mind")
        .await
        .unwrap();
    assert_eq!(
        permit.start(&order().payload).await.unwrap_err(),
        StartError::Spent
    );
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_and_a_withdrawal_never_both_win() {
    let mut house = House::new().await;
    for _ in 0..50 {
        let permit = approved(&mut house).await;
        let id = house.in_state(State::Approved).await.remove(0).id;
        let gate = house.gate.clone();
        let cancel = tokio::spawn(async move { gate.cancel(id, "race").await });
        let started = permit.start(&order().payload).await;
        let cancelled = cancel.await.unwrap();
        assert_ne!(started.is_ok(), cancelled.is_ok());
        let state = if started.is_ok() {
            State::Consumed
        } else {
            State::Cancelled
        };
        assert_eq!(house.approval(id).await.state, state);
    }
    assert_eq!(
        house.count(EventKind::EffectStarted).await,
        house.in_state(State::Consumed).await.len()
    );
}

const ENTRIES: Table = Table("test_entries");

#[tokio::test]
async fn an_effect_in_the_store_is_one_transaction_with_its_approval_and_record() {
    let policy =
        r#"@id("asked") permit (principal, action, resource) when { context.approvals >= 1 };"#;
    let mut house = House::under(policy).await;
    let waiting = house.bring::<MemoryWrite>(put());
    let asked = house.next(State::Pending).await;
    house.approve(asked.id).await;
    let mut permit = waiting.await.unwrap().unwrap();

    // Computed from what is no longer there: nothing happens, and the permit holds.
    let mut stale = Commit::new();
    stale
        .expect_value(ENTRIES, b"key", b"old".to_vec())
        .put(ENTRIES, b"key", b"new".to_vec());
    let error = permit.try_commit(&put().payload, stale).await.unwrap_err();
    assert!(
        matches!(error, StartError::Conflict { table, .. } if table == ENTRIES),
        "{error}"
    );
    assert_eq!(house.approval(asked.id).await.state, State::Approved);
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);

    let mut fresh = Commit::new();
    fresh
        .expect_absent(ENTRIES, b"key")
        .put(ENTRIES, b"key", b"new".to_vec());
    permit.try_commit(&put().payload, fresh).await.unwrap();
    assert_eq!(house.approval(asked.id).await.state, State::Consumed);
    assert_eq!(
        house.disk.get(ENTRIES, b"key").await.unwrap().as_deref(),
        Some(&b"new"[..])
    );
    assert_eq!(house.count(EventKind::EffectFinished).await, 1);

    // Once is once.
    let again = permit
        .commit(&put().payload, Commit::new())
        .await
        .unwrap_err();
    assert_eq!(again, StartError::Spent);
}
