//! Classes that a manifest or a policy raises. Nothing lowers one.

use std::sync::Arc;

use nexus_gate::kind::Http;
use nexus_gate::{
    Action, Case, DecideError, Decision, EffectClass, Policy, PolicyError, Remember, State, Verdict,
};
use nexus_manifest::Manifest;
use serde_json::json;

use crate::house::{House, MANIFEST, action, alice, order, put};

/// The action by an agent whose manifest differs in this.
fn with(mut action: Action, change: (&str, &str)) -> Action {
    let manifest = MANIFEST.replacen(change.0, change.1, 1);
    assert_ne!(manifest, MANIFEST);
    let context = Arc::get_mut(&mut action.context).unwrap();
    context.manifest = Arc::new(Manifest::parse(&manifest).unwrap());
    action
}

fn class(house: &House, action: Action) -> EffectClass {
    house.gate.explain(action).class
}

const API: &str = "paths = [\"/v1/*\"]";

#[tokio::test]
async fn a_manifest_raises_what_it_covers_and_lowers_nothing() {
    let house = House::new().await;
    let price = || action("http", "GET", "https://api.example.com/v1/price");
    let raise = |class: &str| format!("{API}, class = \"{class}\"");
    let grave = raise("irreversible");
    assert_eq!(class(&house, price()), EffectClass::Read);
    assert_eq!(
        class(&house, with(price(), (API, &grave))),
        EffectClass::Irreversible
    );
    assert_eq!(
        class(&house, with(order(), (API, &grave))),
        EffectClass::Irreversible
    );
    assert_eq!(
        class(&house, with(order(), (API, &raise("internal")))),
        EffectClass::External
    );
    let elsewhere = action("http", "GET", "http://127.0.0.1:8080/price");
    assert_eq!(
        class(&house, with(elsewhere, (API, &grave))),
        EffectClass::Read
    );
    let space = ("\"read-write\" }", "\"read-write\", class = \"external\" }");
    assert_eq!(class(&house, with(put(), space)), EffectClass::External);
    let get = action("memory", "get", "kb-08/balance");
    assert_eq!(class(&house, with(get, space)), EffectClass::Read);
    let peer = ("\"notifier\" }", "\"notifier\", class = \"irreversible\" }");
    let call = action("bus", "call", "notifier");
    assert_eq!(class(&house, with(call, peer)), EffectClass::Irreversible);
}

#[tokio::test]
async fn what_an_author_calls_irreversible_is_asked_about_each_time() {
    let mut house = House::new().await;
    let grave = format!("{API}, class = \"irreversible\"");
    let (waiting, asked) = house.ask(with(order(), (API, &grave))).await;
    assert_eq!(asked.class, EffectClass::Irreversible);
    assert!(asked.rendering.contains("effect class: irreversible"));
    let remembered = Decision::from(Verdict::Approve).remembered(Remember {
        suggestion: 1,
        any_component: false,
        lifetime_ms: None,
        uses: None,
    });
    let decided = house
        .gate
        .decide(asked.id, remembered, None, &alice())
        .await;
    assert!(
        matches!(decided, Err(DecideError::NotRemembered(_))),
        "{decided:?}"
    );
    house.approve(asked.id).await;
    drop(waiting.await.unwrap().unwrap());
}

const PAYMENTS: &str = r#"
    @id("payments") @class("irreversible") forbid (principal, action, resource)
    when { context has path && context.path like "/v1/pay*" };
"#;

#[tokio::test]
async fn a_policy_raises_by_a_rule_that_forbids_nothing() {
    let policy = format!("{}{PAYMENTS}", nexus_gate::SHIPPED);
    let mut house = House::under(&policy).await;
    let pay = |verb: &str| action("http", verb, "https://api.example.com/v1/pay/1");
    for verb in ["GET", "POST"] {
        assert_eq!(class(&house, pay(verb)), EffectClass::Irreversible);
    }
    assert_eq!(class(&house, order()), EffectClass::External);
    // Asked twice, it is told from the same.
    for _ in 0..2 {
        let waiting = house.bring::<Http>(pay("GET"));
        let asked = house.next(State::Pending).await;
        assert_eq!(asked.class, EffectClass::Irreversible);
        house.approve(asked.id).await;
        drop(waiting.await.unwrap().unwrap());
    }
    assert!(
        house
            .gate
            .policy()
            .rules()
            .contains(&("payments".to_owned(), false))
    );
    let case: Case = serde_json::from_value(json!({
        "target": "https://api.example.com/v1/pay/1",
        "expect": 1,
        "policies": ["external-needs-a-person"],
    }))
    .unwrap();
    case.check(&Policy::parse(&policy).unwrap()).unwrap();
    assert!(case.check(&Policy::shipped()).is_err());
}

#[test]
fn a_rule_that_names_a_class_is_written_as_one() {
    for (text, why) in [
        (
            "@class(\"irreversible\") permit (principal, action, resource);",
            "forbid",
        ),
        (
            "@class(\"read\") forbid (principal, action, resource);",
            "external",
        ),
        (
            "@class(\"\") forbid (principal, action, resource);",
            "external",
        ),
    ] {
        match Policy::parse(text) {
            Err(error @ PolicyError::Class { .. }) => {
                assert!(error.to_string().contains(why), "{error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}
