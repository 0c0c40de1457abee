//! The audit trail tells the whole story, and private data is not in it nor anywhere in clear.

use nexus_audit::{Event, EventKind, verify_store};
use nexus_gate::kind::{Http, MemoryRead};
use nexus_gate::{Finish, State};
use nexus_manifest::Digest;
use nexus_store::{Scan, Store, Table};
use serde_json::json;

use crate::house::{House, action, order};

#[tokio::test]
async fn decision_request_answer_and_execution_can_be_followed_from_the_trail_alone() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    let receipt = waiting
        .await
        .unwrap()
        .unwrap()
        .start(&order().payload)
        .await
        .unwrap();
    receipt
        .finish(Finish {
            ok: true,
            result: Digest::of(b"created"),
            detail: json!({}),
        })
        .await
        .unwrap();

    let events: Vec<Event> = house
        .events()
        .await
        .into_iter()
        .map(|record| record.event)
        .collect();
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            EventKind::ApprovalRequested,
            EventKind::ApprovalDecided,
            EventKind::EffectStarted,
            EventKind::EffectFinished,
        ]
    );
    for event in &events {
        assert_eq!(event.action, Some(asked.digest));
        assert_eq!(event.approval, Some(asked.id.to_string()));
        assert_eq!(event.policies, ["external-needs-a-person"]);
    }
    assert_eq!(events[0].principal.as_deref(), Some("operator"));
    assert_eq!(events[1].principal.as_deref(), Some("alice"));
    assert_eq!(
        events[3].detail["result"],
        Digest::of(b"created").to_string()
    );
    let checkpoint = house.audit.checkpoint().await.unwrap();
    let key = house.audit.verifying_key();
    let report = verify_store(&*house.disk, &key, Some(&checkpoint))
        .await
        .unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
}

#[tokio::test]
async fn an_effect_without_an_end_is_recorded_as_unknown() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    drop(
        waiting
            .await
            .unwrap()
            .unwrap()
            .start(&order().payload)
            .await
            .unwrap(),
    );
    let read = action("http", "GET", "https://api.example.com/v1/price");
    let permit = house.gate.check::<Http>(read.clone(), &()).await.unwrap();
    drop(permit.start(&read.payload).await.unwrap());
    assert_eq!(house.count(EventKind::EffectUnknown).await, 2);
}

#[tokio::test]
async fn a_start_whose_caller_goes_away_is_never_left_without_an_end() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    let payload = order().payload;
    let mut start = Box::pin(waiting.await.unwrap().unwrap().start(&payload));
    let _ = futures::poll!(&mut start);
    drop(start);
    house.next(State::Consumed).await;
    // The record of the start is durable now; that of the unknown end follows it.
    let mut trail = house.audit.subscribe();
    while house.count(EventKind::EffectUnknown).await == 0 {
        trail.changed().await.unwrap();
    }
    assert_eq!(house.count(EventKind::EffectStarted).await, 1);
}

#[tokio::test]
async fn a_read_from_the_store_is_one_record() {
    let house = House::new().await;
    let read = action("memory", "get", "kb-08/x");
    let permit = house
        .gate
        .check::<MemoryRead>(read.clone(), &())
        .await
        .unwrap();
    permit.read(&read.payload).await.unwrap();
    let events = house.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event.kind, EventKind::ActionPermitted);
    assert_eq!(events[0].event.policies, ["reads-are-free"]);
}

#[tokio::test]
async fn contents_are_sealed_at_rest_and_stay_out_of_the_trail() {
    let mut house = House::new().await;
    let mut order = order();
    order.payload = order
        .payload
        .clone()
        .with_part("note", "text/plain", "a very private note");
    let (waiting, asked) = house.ask(order).await;
    assert!(
        house
            .approval(asked.id)
            .await
            .rendering
            .contains("a very private note")
    );
    let hidden = |bytes: &[u8]| !bytes.windows(12).any(|window| window == b"very private");
    for table in [
        "approvals",
        "approval_payloads",
        "approvals_by_state",
        "approvals_by_agent",
    ] {
        let rows = house
            .disk
            .scan(Table(table), Scan::default())
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{table}");
        assert!(
            rows.iter().all(|(key, value)| hidden(key) && hidden(value)),
            "{table}"
        );
    }
    for record in house.disk.read_log(nexus_audit::LOG, 1, 100).await.unwrap() {
        assert!(hidden(&record.record));
    }
    waiting.abort();
}
