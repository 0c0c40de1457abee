//! Policies: what the shipped one says, and what is no policy at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{
    Action, ActionKind, Answer, EffectClass, Facts, Label, Policy, PolicyError, Question,
    RootOrigin,
};
use nexus_manifest::Manifest;

use crate::house::{MANIFEST, action};

fn asked(policy: &Policy, action: &Action) -> (Option<u32>, Vec<String>) {
    match &*policy.answer(Question::of(action, Facts::default())) {
        Answer::Permitted {
            approvals,
            policies,
        } => (Some(*approvals), policies.clone()),
        Answer::Refused { policies, errors } => {
            assert!(errors.is_empty(), "{errors:?}");
            (None, policies.clone())
        }
    }
}

fn of_class(capability: &'static str, target: &str, class: EffectClass) -> Action {
    let mut action = action(capability, "POST", target);
    action.class = class;
    action
}

#[test]
fn the_shipped_policy_says() {
    let policy = Policy::shipped();
    let api = "https://api.example.com/v1/x";
    let table = [
        (
            "http",
            api,
            EffectClass::Read,
            Some(0),
            vec!["reads-are-free"],
        ),
        (
            "memory",
            "kb-08/x",
            EffectClass::Read,
            Some(0),
            vec!["reads-are-free"],
        ),
        (
            "memory",
            "kb-08/x",
            EffectClass::Internal,
            Some(0),
            vec!["internal-is-free"],
        ),
        (
            "bus",
            "notifier",
            EffectClass::Internal,
            Some(0),
            vec!["internal-is-free"],
        ),
        (
            "http",
            api,
            EffectClass::External,
            Some(1),
            vec!["external-needs-a-person"],
        ),
        (
            "http",
            api,
            EffectClass::Irreversible,
            Some(1),
            vec!["external-needs-a-person"],
        ),
        (
            "http",
            "http://127.0.0.1:8080/x",
            EffectClass::Read,
            Some(0),
            vec!["reads-are-free"],
        ),
        (
            "http",
            "http://[::1]:8080/x",
            EffectClass::Read,
            Some(0),
            vec!["reads-are-free"],
        ),
        (
            "http",
            "https://93.184.216.34/x",
            EffectClass::Read,
            Some(1),
            vec!["reads-are-free", "unusual-host-needs-a-person"],
        ),
        (
            "http",
            "https://api.xn--exmple-cua.com/x",
            EffectClass::Read,
            Some(1),
            vec!["reads-are-free", "unusual-host-needs-a-person"],
        ),
    ];
    for (capability, target, class, approvals, policies) in table {
        let (actual, named) = asked(&policy, &of_class(capability, target, class));
        assert_eq!(actual, approvals, "{capability} {target} {class}");
        assert_eq!(named, policies, "{capability} {target} {class}");
    }
    for kind in [ActionKind::Grant, ActionKind::Reveal] {
        let mut action = of_class("vault", "exchange-key", EffectClass::Irreversible);
        action.kind = kind;
        assert_eq!(asked(&policy, &action).0, Some(1));
    }
}

#[test]
fn labelled_data_does_not_leave_by_a_read_unasked() {
    let policy = Policy::shipped();
    let cases: [(&[Label], u32); 6] = [
        (&[], 0),
        (&[Label::Untrusted], 0),
        (&[Label::Private], 0),
        (&[Label::Untrusted, Label::Private], 1),
        // Who has the secret itself needs no instructions from outside to send it.
        (&[Label::Secret("exchange-key".to_owned())], 1),
        (
            &[Label::Untrusted, Label::Secret("exchange-key".to_owned())],
            1,
        ),
    ];
    for (labels, approvals) in cases {
        let mut read = of_class("http", "https://api.example.com/v1/x", EffectClass::Read);
        // From the invocation as well as from the call.
        read.labels = labels.iter().skip(1).cloned().collect();
        Arc::make_mut(&mut read.context).labels =
            labels.iter().take(1).cloned().collect::<BTreeSet<_>>();
        assert_eq!(asked(&policy, &read).0, Some(approvals), "{labels:?}");
        let mut inside = of_class("memory", "kb-08/x", EffectClass::Read);
        inside.labels = labels.iter().cloned().collect();
        assert_eq!(asked(&policy, &inside).0, Some(0), "{labels:?}");
    }
}

#[test]
fn publication_is_free_exactly_without_external_power() {
    let policy = Policy::shipped();
    let permissions = [
        (r#"memory = { space = "kb-08", access = "read-write" }"#, 0),
        (r#"peer = { tag = "finance" }"#, 0),
        (
            r#"http = { origin = "https://a.example", methods = ["GET", "HEAD"], paths = ["/*"] }"#,
            0,
        ),
        (
            r#"http = { origin = "https://a.example", methods = ["GET", "POST"], paths = ["/*"] }"#,
            1,
        ),
        (
            r#"http = { origin = "https://a.example", methods = ["POST"], paths = ["/x"], reads = [{ pointer = "/method", values = ["a"] }] }"#,
            1,
        ),
        (
            r#"secret = { name = "key", audience = ["https://a.example"] }"#,
            1,
        ),
    ];
    for (permission, approvals) in permissions {
        let head = &MANIFEST[..MANIFEST.find("[[").unwrap()];
        let text = format!("{head}[[permission]]\n{permission}\n");
        let mut publish = action("agents", "publish", "eth-tracker");
        publish.kind = ActionKind::Publish;
        Arc::make_mut(&mut publish.context).manifest = Arc::new(Manifest::parse(&text).unwrap());
        assert_eq!(asked(&policy, &publish).0, Some(approvals), "{permission}");
        // Whoever raises the class, as one does that takes another owner's place, has to be agreed with.
        publish.class = EffectClass::External;
        assert_eq!(asked(&policy, &publish).0, Some(1), "{permission}");
    }
}

#[test]
fn a_policy_sees_everything_the_schema_names() {
    let policy = Policy::parse(
        r#"
        @id("all-of-it")
        permit (principal == Agent::"eth-tracker", action == Action::"external", resource == Target::"https://api.example.com/v1/orders?x=9f86d081884c7d659a2feaa0c55ad015")
        when {
          context.approvals == 2 && context.class == "external" && context.capability == "http" && context.verb == "POST" &&
          context.component like "sha256:*" && context.person == "operator" && context.origin == "mcp" &&
          context.depth == 1 && context.chain.contains(Agent::"planner") && context.labels.contains("untrusted") &&
          context.host_kind == "name" && context has scheme && context.scheme == "https" &&
          context has host && context.host == "api.example.com" && context has port && context.port == 443 &&
          context has path && context.path == "/v1/orders" && !context.free_permissions &&
          context.chain_class == "internal" && context.high_entropy && !context.first_use
        };
        "#,
    )
    .unwrap();
    let mut order = of_class(
        "http",
        "https://api.example.com/v1/orders?x=9f86d081884c7d659a2feaa0c55ad015",
        EffectClass::External,
    );
    let context = Arc::make_mut(&mut order.context);
    context.root = RootOrigin::Mcp;
    context.chain = vec!["planner".parse().unwrap()];
    context.chain_class = EffectClass::Internal;
    context.labels.insert(Label::Untrusted);
    assert_eq!(
        asked(&policy, &order),
        (Some(2), vec!["all-of-it".to_owned()])
    );
    order.verb = "PUT".to_owned();
    assert_eq!(asked(&policy, &order), (None, Vec::new()));
}

#[test]
fn answers_do_not_depend_on_what_was_asked_before() {
    let policy = Policy::shipped();
    // More different questions than are remembered, twice, against fresh evaluation.
    for round in 0..2 {
        for number in 0..5000 {
            let class = if number % 3 == 0 {
                EffectClass::External
            } else {
                EffectClass::Read
            };
            let target = format!("https://api.example.com/v1/{number}");
            let question = Question::of(&of_class("http", &target, class), Facts::default());
            let answer = policy.answer(question.clone());
            if number % 500 == 0 {
                assert_eq!(
                    *answer,
                    policy.evaluate(&question),
                    "round {round}, {target}"
                );
            }
        }
    }
}

#[test]
fn what_is_no_policy_is_refused_with_a_reason() {
    let permit = "permit (principal, action, resource)";
    let syntax = Policy::parse("permit everything;").unwrap_err();
    assert!(matches!(syntax, PolicyError::Syntax(_)), "{syntax}");
    let typo = Policy::parse(&format!("{permit} when {{ context.aprovals >= 1 }};")).unwrap_err();
    assert!(
        matches!(&typo, PolicyError::Schema(why) if why[0].contains("aprovals")),
        "{typo}"
    );
    // Where it is, and once though it is about every action.
    let good = format!("@id(\"a\") {permit};\n// A comment.\n");
    let typo = Policy::parse(&format!(
        "{good}{permit}\nwhen {{ context.aprovals >= 1 }};"
    ));
    let Err(PolicyError::Schema(found)) = typo else {
        panic!("{typo:?}");
    };
    assert!(
        found.len() == 1 && found[0].starts_with("line 4: "),
        "{found:?}"
    );
    let syntax = Policy::parse(&format!("{good}{permit} when {{ true && }};")).unwrap_err();
    assert!(syntax.to_string().contains(": line 3: "), "{syntax}");
    let action =
        Policy::parse(r#"permit (principal, action == Action::"write", resource);"#).unwrap_err();
    assert!(matches!(action, PolicyError::Schema(_)), "{action}");
    let twice = Policy::parse(&format!("@id(\"a\") {permit}; @id(\"a\") {permit};")).unwrap_err();
    assert_eq!(twice, PolicyError::DuplicateId("a".to_owned()));
    let template =
        Policy::parse("permit (principal == ?principal, action, resource);").unwrap_err();
    assert!(matches!(template, PolicyError::Template(_)), "{template}");
    // Nothing permitted is a policy, too.
    assert_eq!(
        asked(&Policy::parse("").unwrap(), &crate::house::put()).0,
        None
    );
}

#[test]
fn the_shipped_policy_names_all_its_rules() {
    let policy = Policy::shipped();
    assert!(
        policy
            .rules()
            .iter()
            .all(|(id, _)| !id.starts_with("policy")),
        "{:?}",
        policy.rules()
    );
    assert_eq!(policy.text(), nexus_gate::SHIPPED);
}
