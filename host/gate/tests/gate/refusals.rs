//! Everything that is refused, and that nothing of it is asked or done.

use std::sync::Arc;

use nexus_audit::EventKind;
use nexus_gate::kind::{
    BusCall, BusList, Http, MemoryRead, MemoryWrite, Publish, SecretOpen, SecretReveal,
};
use nexus_gate::{
    Action, ActionKind, EffectClass, Floor, Kind, MAX_ASKED_BYTES, Payload, Refusal, RootOrigin,
    State,
};
use nexus_manifest::Manifest;
use serde_json::json;

use crate::house::{House, MANIFEST, action, order, put};

async fn refused<K: Kind>(house: &House, action: Action) -> Refusal {
    house.gate.check::<K>(action, &()).await.unwrap_err()
}

#[tokio::test]
async fn what_the_manifest_does_not_cover_is_forbidden_and_recorded() {
    let house = House::new().await;
    let http = [
        ("GET", "https://evil.example.com/v1/x"),
        ("GET", "http://api.example.com/v1/x"),
        ("GET", "https://api.example.com:444/v1/x"),
        ("GET", "https://api.example.com/v2/x"),
        ("GET", "https://api.example.com/v1/../v2"),
        ("GET", "https://api.example.com/v1/%2e%2e/v2"),
        ("GET", "https://user@api.example.com/v1/x"),
        ("GET", "https://API.example.com/v1/x"),
        ("GET", "https://api.example.com:443/v1/x"),
        ("GET", "https://api.example.com"),
        ("GET", "/v1/x"),
        ("DELETE", "https://api.example.com/v1/x"),
        ("GET", "https://rpc.example.com/"),
    ];
    for (verb, target) in http {
        let refusal = refused::<Http>(&house, action("http", verb, target)).await;
        assert!(
            matches!(refusal, Refusal::Forbidden(_)),
            "{verb} {target}: {refusal:?}"
        );
    }
    let others = [
        refused::<MemoryRead>(&house, action("memory", "get", "other/key")).await,
        refused::<MemoryRead>(&house, action("memory", "get", "kb-0/8")).await,
        refused::<MemoryWrite>(&house, action("memory", "put", "facts/key")).await,
        refused::<MemoryWrite>(&house, action("memory", "delete", "facts/key")).await,
        refused::<BusCall>(&house, action("bus", "call", "stranger")).await,
        refused::<BusCall>(&house, action("bus", "call", "*")).await,
        refused::<SecretOpen>(&house, action("vault", "open", "other-key")).await,
    ];
    for refusal in &others {
        assert!(matches!(refusal, Refusal::Forbidden(_)), "{refusal:?}");
    }
    assert_eq!(
        house.count(EventKind::ActionRefused).await,
        http.len() + others.len()
    );
    assert_eq!(house.count(EventKind::ApprovalRequested).await, 0);
}

#[tokio::test]
async fn what_the_manifest_covers_and_policy_calls_free_is_permitted() {
    let house = House::new().await;
    let gate = &house.gate;
    drop(
        gate.check::<Http>(
            action("http", "GET", "https://api.example.com/v1/price?ids=eth"),
            &(),
        )
        .await
        .unwrap(),
    );
    drop(
        gate.check::<Http>(action("http", "GET", "http://127.0.0.1:8080/price"), &())
            .await
            .unwrap(),
    );
    drop(
        gate.check::<MemoryRead>(action("memory", "scan", "facts"), &())
            .await
            .unwrap(),
    );
    drop(gate.check::<MemoryWrite>(put(), &()).await.unwrap());
    drop(
        gate.check::<BusCall>(action("bus", "call", "notifier"), &())
            .await
            .unwrap(),
    );
    drop(
        gate.check::<BusList>(action("bus", "peers", "*"), &())
            .await
            .unwrap(),
    );
    drop(
        gate.check::<SecretOpen>(action("vault", "open", "exchange-key"), &())
            .await
            .unwrap(),
    );
    assert_eq!(house.count(EventKind::ActionRefused).await, 0);
}

#[tokio::test]
async fn a_permit_is_not_given_for_another_kind_of_thing() {
    let house = House::new().await;
    let invalid = [
        refused::<MemoryRead>(&house, put()).await,
        refused::<MemoryWrite>(&house, action("memory", "get", "kb-08/x")).await,
        refused::<Http>(&house, action("memory", "get", "kb-08/x")).await,
        refused::<Http>(
            &house,
            action("http", "TRACE", "https://api.example.com/v1/x"),
        )
        .await,
        refused::<Http>(
            &house,
            action("http", "get", "https://api.example.com/v1/x"),
        )
        .await,
        refused::<Publish>(&house, action("agents", "publish", "eth-tracker")).await,
    ];
    for refusal in invalid {
        assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_payload_without_one_encoding_is_invalid() {
    let house = House::new().await;
    let mut deep = json!("x");
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let fields = [
        json!([]),
        json!("text"),
        json!({ "amount": 1.5 }),
        json!({ "amount": 1e3 }),
        json!({ "nested": [{ "amount": 9_007_199_254_740_992_u64 }] }),
        json!({ "amount": -9_007_199_254_740_992_i64 }),
        json!({ "deep": deep }),
    ];
    for fields in fields {
        let mut order = order();
        order.payload.fields = fields.clone();
        let refusal = refused::<Http>(&house, order).await;
        assert!(
            matches!(refusal, Refusal::Invalid(_)),
            "{fields}: {refusal:?}"
        );
    }
    let mut twice = order();
    twice.payload = twice.payload.with_part("body", "text/plain", "another");
    assert!(matches!(
        refused::<Http>(&house, twice).await,
        Refusal::Invalid(_)
    ));
    let mut order = order();
    order.sequence = u64::MAX;
    assert!(matches!(
        refused::<Http>(&house, order).await,
        Refusal::Invalid(_)
    ));
}

#[tokio::test]
async fn what_nobody_would_read_to_the_end_is_not_asked() {
    let house = House::new().await;
    let mut large = order();
    large.payload =
        Payload::new(json!({})).with_part("body", "text/plain", "x".repeat(MAX_ASKED_BYTES));
    assert!(matches!(
        refused::<Http>(&house, large).await,
        Refusal::Invalid(_)
    ));
    assert_eq!(house.count(EventKind::ApprovalRequested).await, 0);
    // Where nobody is asked, size is no matter of the gate's.
    let mut large = put();
    large.payload =
        Payload::new(json!({})).with_part("value", "text/plain", "x".repeat(MAX_ASKED_BYTES));
    drop(house.gate.check::<MemoryWrite>(large, &()).await.unwrap());
}

struct Closed;

impl Floor for Closed {
    fn check(&self, action: &Action) -> Result<(), String> {
        Err(format!("{} is blocked", action.target))
    }
}

#[tokio::test]
async fn the_floor_stands_below_policy_and_people() {
    let house = House::with(|options| options.floor = Arc::new(Closed)).await;
    let refusal = refused::<MemoryRead>(&house, action("memory", "get", "kb-08/x")).await;
    assert_eq!(refusal, Refusal::Forbidden("kb-08/x is blocked".to_owned()));
    assert!(matches!(
        refused::<Http>(&house, order()).await,
        Refusal::Forbidden(_)
    ));
    assert_eq!(house.count(EventKind::ApprovalRequested).await, 0);
}

#[tokio::test]
async fn policy_forbids_and_the_trail_names_it() {
    let house = House::under(
        r#"
        @id("all") permit (principal, action, resource);
        @id("no-orders") forbid (principal, action, resource) when { context has path && context.path like "*/orders" };
        "#,
    )
    .await;
    let refusal = refused::<Http>(&house, order()).await;
    assert_eq!(
        refusal,
        Refusal::Forbidden("forbidden by policy no-orders".to_owned())
    );
    let events = house.events().await;
    let event = &events.last().unwrap().event;
    assert_eq!(
        (event.kind, &event.policies[..]),
        (EventKind::ActionRefused, &["no-orders".to_owned()][..])
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_denies() {
    // Overflows only when evaluated, whatever else permits.
    let house = House::under(
        r#"
        @id("all") permit (principal, action, resource);
        @id("broken") forbid (principal, action, resource) when { context.depth + 9223372036854775807 > context.depth + 9223372036854775807 + 1 };
        "#,
    )
    .await;
    let refusal = refused::<MemoryRead>(&house, action("memory", "get", "kb-08/x")).await;
    assert!(
        matches!(&refusal, Refusal::Forbidden(why) if why.contains("broken")),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn where_nobody_is_there_nobody_is_asked() {
    let mut house = House::new().await;
    for root in [RootOrigin::Schedule, RootOrigin::Ingest] {
        let mut order = order();
        Arc::make_mut(&mut order.context).root = root;
        assert_eq!(refused::<Http>(&house, order).await, Refusal::Unattended);
    }
    assert_eq!(house.count(EventKind::ApprovalRequested).await, 0);
    // A model has a person behind it.
    let mut order = order();
    Arc::make_mut(&mut order.context).root = RootOrigin::Mcp;
    let waiting = house.bring::<Http>(order);
    house.next(State::Pending).await;
    waiting.abort();
}

#[tokio::test]
async fn a_class_is_raised_and_never_lowered() {
    let mut house = House::new().await;
    // A POST that calls itself a read is asked about.
    let waiting = house.bring::<Http>(order());
    let approval = house.next(State::Pending).await;
    assert_eq!(approval.class, EffectClass::External);
    waiting.abort();

    // A declared read by POST is free; any other body is not, nor one that hides a second key.
    let rpc = |body: &'static str| {
        let mut call = action("http", "POST", "https://rpc.example.com/");
        call.payload = call.payload.with_part("body", "application/json", body);
        call
    };
    drop(
        house
            .gate
            .check::<Http>(rpc(r#"{"method":"eth_call"}"#), &())
            .await
            .unwrap(),
    );
    let others = [
        r#"{"method":"eth_sendRawTransaction"}"#,
        r#"{"method":"eth_call","method":"eth_sendRawTransaction"}"#,
        "not json",
        "",
    ];
    for body in others {
        let waiting = house.bring::<Http>(rpc(body));
        assert_eq!(
            house.next(State::Pending).await.class,
            EffectClass::External,
            "{body}"
        );
        waiting.abort();
        house.next(State::Cancelled).await;
    }

    // A read that the host's caller knows to be worse is asked about.
    let mut read = action("http", "GET", "https://api.example.com/v1/unsubscribe");
    read.class = EffectClass::Irreversible;
    let waiting = house.bring::<Http>(read);
    assert_eq!(
        house.next(State::Pending).await.class,
        EffectClass::Irreversible
    );
    waiting.abort();
}

#[tokio::test]
async fn publishing_is_asked_about_if_the_manifest_has_external_power() {
    let mut house = House::new().await;
    let mut publish = action("agents", "publish", "eth-tracker");
    publish.kind = ActionKind::Publish;
    let waiting = house.bring::<Publish>(publish.clone());
    assert_eq!(house.next(State::Pending).await.kind, ActionKind::Publish);
    waiting.abort();

    let harmless = r#"
        format = 1
        name = "eth-tracker"
        version = "0.1.0"
        summary = "Keeps notes"
        [[permission]]
        memory = { space = "kb-08", access = "read-write" }
        [[permission]]
        http = { origin = "https://api.example.com", methods = ["GET"], paths = ["/v1/*"] }
    "#;
    let manifest = nexus_manifest::Manifest::parse(harmless).unwrap();
    Arc::make_mut(&mut publish.context).manifest = Arc::new(manifest);
    drop(house.gate.check::<Publish>(publish, &()).await.unwrap());
}

#[tokio::test]
async fn if_nothing_can_be_recorded_nothing_happens() {
    let house = House::new().await;
    let read = action("memory", "get", "kb-08/x");
    let write = put();
    let read_permit = house
        .gate
        .check::<MemoryRead>(read.clone(), &())
        .await
        .unwrap();
    let write_permit = house
        .gate
        .check::<MemoryWrite>(write.clone(), &())
        .await
        .unwrap();
    house.disk.break_down();
    let mut asked = house.gate.watch();
    assert!(matches!(
        refused::<Http>(&house, order()).await,
        Refusal::Unavailable(_)
    ));
    assert!(asked.try_recv().is_err());
    let elsewhere = action("memory", "get", "other/x");
    assert!(matches!(
        refused::<MemoryRead>(&house, elsewhere).await,
        Refusal::Unavailable(_)
    ));
    let unavailable = |error| matches!(error, nexus_gate::StartError::Unavailable(_));
    assert!(unavailable(
        read_permit.read(&read.payload).await.unwrap_err()
    ));
    assert!(unavailable(
        write_permit.start(&write.payload).await.unwrap_err()
    ));
}

#[tokio::test]
async fn a_secret_is_shown_by_a_persons_word_whatever_the_policy() {
    let everything = "@id(\"all\") permit (principal, action, resource);";
    let mut house = House::under(everything).await;
    let reveal = |more: &str| {
        let mut reveal = action("vault", "reveal", "exchange-key");
        reveal.kind = ActionKind::Reveal;
        let text = MANIFEST.replace("\"exchange-key\",", &format!("\"exchange-key\", {more}"));
        Arc::make_mut(&mut reveal.context).manifest = Arc::new(Manifest::parse(&text).unwrap());
        reveal
    };
    let refusal = refused::<SecretReveal>(&house, reveal("")).await;
    assert!(
        matches!(&refusal, Refusal::Forbidden(reason) if reason.contains("reveal = true")),
        "{refusal:?}"
    );
    // Nobody is there to be asked.
    let mut alone = reveal("reveal = true,");
    Arc::make_mut(&mut alone.context).root = RootOrigin::Schedule;
    let refusal = refused::<SecretReveal>(&house, alone).await;
    assert!(matches!(refusal, Refusal::Unattended), "{refusal:?}");

    let asking = house.bring::<SecretReveal>(reveal("reveal = true,"));
    let approval = house.next(State::Pending).await;
    assert_eq!(approval.policies, ["all", "gate:reveal"]);
    assert!(approval.suggestions.is_empty());
    asking.abort();
}
