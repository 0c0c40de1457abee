//! What only looks may look, where nobody has to be asked, and can do nothing else: the gate's own
//! word, whatever policy says and whoever asks.

use std::sync::Arc;

use nexus_audit::EventKind;
use nexus_gate::kind::{
    BusCall, BusList, Http, MemoryRead, MemoryWrite, Publish, SecretOpen, SecretReveal,
};
use nexus_gate::{Action, ActionKind, Context, Kind, Payload, Policy, Refusal};
use serde_json::json;

use crate::house::{House, action, context, order, put};

/// The same action by a component that is only tried.
fn shadow(mut action: Action) -> Action {
    action.context = Arc::new(Context {
        shadow: true,
        ..(*action.context).clone()
    });
    action
}

async fn refused<K: Kind>(house: &House, action: Action) -> String {
    // Without its shadow nothing but a person may stand in its way.
    match house.gate.check::<K>(shadow(action), &()).await {
        Err(Refusal::Forbidden(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is permitted"),
    }
}

#[tokio::test]
async fn a_shadow_run_can_do_nothing_though_policy_permits_everything() {
    let policy = Policy::parse("@id(\"open\") permit (principal, action, resource);").unwrap();
    let house = House::with(|options| options.policy = policy).await;
    let query = |body: &str| {
        let mut query = action("http", "POST", "https://rpc.example.com/");
        query.payload = query
            .payload
            .with_part("body", "application/json", body.to_owned());
        query
    };
    let mut signed = action("http", "GET", "https://api.example.com/v1/x");
    signed.payload = Payload::new(json!({ "secrets": [{ "name": "exchange-key" }] }));
    let of_kind = |kind: ActionKind, capability, verb: &str, target: &str| Action {
        kind,
        ..action(capability, verb, target)
    };
    let publish = of_kind(ActionKind::Publish, "agents", "publish", "eth-tracker");
    let tried = [
        refused::<Http>(&house, order()).await,
        refused::<Http>(&house, query(r#"{"method":"eth_call"}"#)).await,
        refused::<Http>(&house, signed).await,
        refused::<MemoryWrite>(&house, put()).await,
        refused::<MemoryWrite>(&house, action("memory", "delete", "kb-08/k")).await,
        refused::<BusCall>(&house, action("bus", "call", "notifier")).await,
        refused::<SecretOpen>(&house, action("vault", "open", "exchange-key")).await,
        refused::<Publish>(&house, publish).await,
    ];
    assert!(
        tried.iter().all(|why| why.contains("a shadow run")),
        "{tried:?}"
    );
    let reveal = of_kind(ActionKind::Reveal, "vault", "reveal", "exchange-key");
    refused::<SecretReveal>(&house, reveal).await;
    assert_eq!(house.count(EventKind::ActionRefused).await, tried.len() + 1);
    assert_eq!(house.count(EventKind::ApprovalRequested).await, 0);
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
}

#[tokio::test]
async fn a_shadow_run_looks_where_it_need_not_ask_and_its_looks_are_recorded() {
    let house = House::new().await;
    let gate = &house.gate;
    for look in [
        action("memory", "get", "kb-08/k"),
        action("memory", "scan", "facts/"),
    ] {
        let look = shadow(look);
        let payload = look.payload.clone();
        let permit = gate.check::<MemoryRead>(look, &()).await.unwrap();
        permit.read(&payload).await.unwrap();
    }
    let peers = shadow(action("bus", "peers", "*"));
    drop(gate.check::<BusList>(peers, &()).await.unwrap());
    let price = || shadow(action("http", "GET", "https://api.example.com/v1/price"));
    drop(gate.check::<Http>(price(), &()).await.unwrap());
    let permitted = house.events().await;
    let mut marked = permitted
        .iter()
        .filter(|record| record.event.kind == EventKind::ActionPermitted);
    let first = &marked.next().unwrap().event;
    assert_eq!(first.detail["shadow"], true);
    assert_eq!(first.principal.as_deref(), Some("operator"));

    // Where nobody has seen the agent go, it would have to ask; and it does not.
    let mut unseen = price();
    unseen.context = Arc::new(Context {
        shadow: true,
        reviewed: false,
        ..context()
    });
    let why = gate.check::<Http>(unseen, &()).await.unwrap_err();
    assert!(
        matches!(&why, Refusal::Forbidden(why) if why.contains("asks nobody")),
        "{why:?}"
    );
    assert_eq!(house.count(EventKind::ApprovalRequested).await, 0);
}
