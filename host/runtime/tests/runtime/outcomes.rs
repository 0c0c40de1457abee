//! Each way for an invocation to end, told apart.

use nexus_runtime::{InvocationState, InvokeError, Outcome};

use crate::guests::{ECHO, LOG, NULL, agent, log};
use crate::support::{Host, call, success};

#[tokio::test]
async fn an_answer_is_the_agents_own_text() {
    let host = Host::new().await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let text = r#"{"large":12345678901234567890123, "order": 1}"#;
    let running = host.start("echo", text).await;
    assert_eq!(*running.outcome().await, success(text));
    assert_eq!(running.state(), InvocationState::Succeeded);
    let record = host
        .runtime
        .invocation(&running.id())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.outcome, Some(success(text)));
    assert!(record.ended_ms.is_some());
}

#[tokio::test]
async fn input_is_checked_before_anything_runs() {
    let host = Host::new().await;
    let schema = "[input]\ntype = \"object\"\nrequired = [\"amount\"]\n";
    host.publish(agent(
        "strict",
        schema,
        LOG,
        &format!("{} {NULL}", log(1047, 5)),
    ))
    .await;
    for input in ["{}", "[]", "{", ""] {
        let refused = host.runtime.invoke(call("strict", input)).await;
        assert!(
            matches!(refused, Err(InvokeError::InvalidInput(_))),
            "{input}"
        );
    }
    let unknown = host.runtime.invoke(call("nobody", "{}")).await;
    assert!(matches!(unknown, Err(InvokeError::UnknownAgent(_))));
    assert_eq!(host.runtime.running(), 0);
}

#[tokio::test]
async fn a_failure_keeps_its_code() {
    let host = Host::new().await;
    let body = "(call $fail (i32.const 1029) (i32.const 7) (i32.const 1037) (i32.const 9))";
    let outcome = host.run(agent("sad", "", "", body)).await;
    let failure = Outcome::Failure {
        code: "bad-day".to_owned(),
        message: "it rained".to_owned(),
    };
    assert_eq!(outcome, failure);
}

#[tokio::test]
async fn a_trap_is_a_trap() {
    let host = Host::new().await;
    for (name, body) in [
        ("unreachable", "(unreachable)"),
        (
            "out-of-bounds",
            "(i32.load (i32.const -8)) (drop) (unreachable)",
        ),
        ("not-text", "(call $ok (i32.const 1073) (i32.const 2))"),
        ("far-away", "(call $ok (i32.const -16) (i32.const 64))"),
    ] {
        let outcome = host.run(agent(name, "", "", body)).await;
        assert!(
            matches!(outcome, Outcome::Trapped { .. }),
            "{name}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_the_agents_promise_is_a_failure() {
    let host = Host::new().await;
    let not_json = agent(
        "no-json",
        "",
        "",
        "(call $ok (i32.const 1067) (i32.const 5))",
    );
    let other_type = agent("no-number", "[output]\ntype = \"number\"\n", "", NULL);
    for component in [not_json, other_type] {
        let outcome = host.run(component).await;
        assert!(
            matches!(&outcome, Outcome::Failure { code, .. } if code == "invalid-output"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_panic_in_the_host_ends_one_invocation_only() {
    let host = Host::new().await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let panics = agent("panics", "", LOG, &format!("{} {NULL}", log(1047, 5)));
    for _ in 0..100 {
        let outcome = host.run(panics.clone()).await;
        assert!(matches!(outcome, Outcome::HostFault { .. }), "{outcome:?}");
    }
    assert_eq!(host.outcome("echo", "1").await, success("1"));
    assert_eq!(host.runtime.running(), 0);
}

#[tokio::test]
async fn cancelling_ends_a_guest_that_computes_and_one_that_waits() {
    let host = Host::new().await;
    host.publish(agent("spins", "", "", "(call $forever) (unreachable)"))
        .await;
    host.publish(agent("waits", "", LOG, &format!("{} {NULL}", log(1057, 4))))
        .await;
    for agent in ["spins", "waits"] {
        let running = host.start(agent, "null").await;
        running.cancel("enough");
        let outcome = running.outcome().await;
        assert_eq!(
            *outcome,
            Outcome::Cancelled {
                reason: "enough".to_owned()
            }
        );
        assert_eq!(running.state(), InvocationState::Cancelled);
    }
    host.runtime.drain(std::time::Duration::ZERO).await;
    assert!(matches!(
        host.runtime.invoke(call("spins", "null")).await,
        Err(InvokeError::Stopping)
    ));
}

#[tokio::test]
async fn a_handle_that_is_dropped_cancels_nothing() {
    let host = Host::new().await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let id = host.start("echo", "7").await.id();
    let running = host.runtime.running_invocation(&id).unwrap();
    assert_eq!(*running.outcome().await, success("7"));
}
