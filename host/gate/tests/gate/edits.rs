//! A yes to something else: it passes the whole gate again, and is exactly what may happen.

use std::sync::Arc;

use nexus_audit::EventKind;
use nexus_gate::kind::Http;
use nexus_gate::{
    Action, Approval, DecideError, Decision, Edit, Part, Permit, Policy, Principal, Refusal,
    Remember, Shapes, StartError, State, Verdict,
};
use serde_json::json;

use crate::house::{House, alice, order};

/// Whatever the gate lets pass can be carried out.
struct Any;

impl Shapes for Any {
    fn check(&self, _: &Action, edited: &Action) -> Result<(), String> {
        match edited.payload.fields["headers"].is_null() {
            true => Err("no headers".to_owned()),
            false => Ok(()),
        }
    }
}

async fn house(policy: Option<&str>) -> House {
    House::with(|options| {
        options.shapes = Arc::new(Any);
        if let Some(policy) = policy {
            options.policy = Policy::parse(policy).unwrap();
        }
    })
    .await
}

fn body(text: &str) -> Edit {
    Edit {
        parts: Some(vec![Part {
            name: "body".to_owned(),
            media_type: "application/json".to_owned(),
            bytes: text.to_owned().into(),
        }]),
        ..Edit::default()
    }
}

async fn edited(house: &mut House, edit: Edit) -> (Approval, Permit<Http>) {
    let (waiting, asked) = house.ask(order()).await;
    let yes = Decision::edited(edit).because("smaller");
    let taken = house.gate.decide(asked.id, yes, None, &alice()).await;
    (taken.unwrap(), waiting.await.unwrap().unwrap())
}

#[tokio::test]
async fn what_was_edited_may_happen_and_nothing_else() {
    let mut house = house(None).await;
    let smaller = r#"{"symbol":"ETH","amount":0}"#;
    let (taken, permit) = edited(&mut house, body(smaller)).await;
    assert_eq!(taken.state, State::Cancelled);
    let vote = &taken.decisions[0];
    assert_eq!((&vote.principal, vote.approved), (&alice(), true));
    let instead = house.approval(vote.edited.unwrap().approval).await;
    assert_eq!(instead.state, State::Approved);
    assert_eq!(instead.edited_from, Some(taken.id));
    assert_eq!(instead.decisions[0].principal, alice());
    assert_ne!(instead.digest, taken.digest);
    assert!(instead.rendering.contains(r#"{"symbol":"ETH","amount":0}"#));
    assert_eq!(instead.payload.parts[0].bytes, smaller);

    assert!(permit.edited());
    assert_eq!(permit.digest(), instead.digest);
    let payload = permit.action().payload.clone();
    assert_eq!(payload.parts[0].bytes, smaller);
    // What the agent asked for is not what was approved.
    let refused = permit.start(&order().payload).await.unwrap_err();
    assert!(matches!(refused, StartError::Changed { .. }));
    house.next(State::Cancelled).await;

    let (taken, permit) = edited(&mut house, body(smaller)).await;
    drop(permit.start(&payload).await.unwrap());
    let spent = taken.decisions[0].edited.unwrap().approval;
    assert_eq!(house.approval(spent).await.state, State::Consumed);
    // The trail leads from the question over the edit to the effect.
    let events = house.events().await;
    let started = events
        .iter()
        .find(|record| record.event.kind == EventKind::EffectStarted)
        .unwrap();
    assert_eq!(started.event.approval, Some(spent.to_string()));
    let asked = events.iter().find(|record| {
        record.event.kind == EventKind::ApprovalRequested
            && record.event.approval == Some(spent.to_string())
    });
    assert_eq!(
        asked.unwrap().event.detail["edited_from"],
        taken.id.to_string()
    );
}

#[tokio::test]
async fn an_edit_passes_the_whole_gate_again() {
    let policy = r#"
        @id("ask") permit (principal, action, resource) when { context.approvals >= 1 };
        @id("no-users") forbid (principal, action, resource)
        when { context has path && context.path like "/v1/users*" };
    "#;
    let mut house = house(Some(policy)).await;
    let (waiting, asked) = house.ask(order()).await;
    let target = |target: &str| Edit {
        target: Some(target.to_owned()),
        ..Edit::default()
    };
    let refused = [
        target("https://elsewhere.example.com/v1/orders"),
        target("https://api.example.com/v2/orders"),
        target("https://api.example.com/v1/../v2"),
        target("https://api.example.com/v1/users/1"),
        target("nowhere"),
        Edit {
            verb: Some("DELETE".to_owned()),
            ..Edit::default()
        },
        Edit {
            verb: Some("publish".to_owned()),
            ..Edit::default()
        },
        Edit {
            fields: Some(json!({})),
            ..Edit::default()
        },
        Edit {
            fields: Some(json!({ "headers": [], "x": 0.5 })),
            ..Edit::default()
        },
        Edit {
            fields: Some(json!([])),
            ..Edit::default()
        },
        body(&"x".repeat(70_000)),
        // No change at all.
        Edit::default(),
        body(r#"{"symbol":"ETH","amount":1}"#),
    ];
    for edit in refused {
        let shown = format!("{edit:?}").chars().take(200).collect::<String>();
        let answer = house
            .gate
            .decide(asked.id, Decision::edited(edit), None, &alice())
            .await;
        assert!(
            matches!(answer, Err(DecideError::EditRefused(_))),
            "{shown}"
        );
        assert_eq!(house.approval(asked.id).await.state, State::Pending);
    }
    // Neither with a no, nor to be remembered.
    let mut no = Decision::from(Verdict::Deny);
    no.edit = Some(body("{}"));
    let yes = Decision::edited(body("{}")).remembered(Remember {
        suggestion: 1,
        any_component: false,
        lifetime_ms: None,
        uses: None,
    });
    for decision in [no, yes] {
        let answer = house.gate.decide(asked.id, decision, None, &alice()).await;
        assert!(matches!(answer, Err(DecideError::EditRefused(_))));
    }
    // A neighbour within manifest and policy passes.
    let edit = target("https://api.example.com/v1/quotes");
    house
        .gate
        .decide(asked.id, Decision::edited(edit), None, &alice())
        .await
        .unwrap();
    let permit = waiting.await.unwrap().unwrap();
    assert_eq!(permit.action().target, "https://api.example.com/v1/quotes");
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
}

#[tokio::test]
async fn an_edit_is_one_person_s_word_and_repeating_it_is_the_same() {
    let four_eyes =
        r#"@id("four-eyes") permit (principal, action, resource) when { context.approvals >= 2 };"#;
    let mut house = house(Some(four_eyes)).await;
    let (waiting, asked) = house.ask(order()).await;
    let edit = || Decision::edited(body("{}"));
    let first = house
        .gate
        .decide(asked.id, edit(), None, &alice())
        .await
        .unwrap();
    let again = house
        .gate
        .decide(asked.id, edit(), None, &alice())
        .await
        .unwrap();
    assert_eq!(first.decisions, again.decisions);
    let instead = first.decisions[0].edited.unwrap().approval;
    assert_eq!(house.approval(instead).await.state, State::Pending);
    for other in [
        Decision::edited(body("[]")),
        Verdict::Approve.into(),
        Verdict::Deny.into(),
    ] {
        let refused = house.gate.decide(asked.id, other, None, &alice()).await;
        assert!(
            matches!(refused, Err(DecideError::AlreadyDecided(_))),
            "{refused:?}"
        );
    }
    // The second pair of eyes sees what it has become.
    let bob = Principal::new("bob");
    house
        .gate
        .decide(instead, Verdict::Approve, None, &bob)
        .await
        .unwrap();
    let permit = waiting.await.unwrap().unwrap();
    assert_eq!(permit.action().payload.parts[0].bytes, "{}");
}

#[tokio::test]
async fn an_edit_of_what_nobody_waits_for_does_nothing() {
    let mut house = house(None).await;
    let (waiting, asked) = house.ask(order()).await;
    waiting.abort();
    house.next(State::Cancelled).await;
    let late = house
        .gate
        .decide(asked.id, Decision::edited(body("{}")), None, &alice())
        .await;
    assert!(matches!(late, Err(DecideError::Closed(_))), "{late:?}");
    // Where no edits are carried out, none is taken.
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    let refused = house
        .gate
        .decide(asked.id, Decision::edited(body("{}")), None, &alice())
        .await;
    assert!(matches!(refused, Err(DecideError::EditRefused(_))));
    house
        .gate
        .decide(asked.id, Verdict::Deny, None, &alice())
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Denied(None));
}
