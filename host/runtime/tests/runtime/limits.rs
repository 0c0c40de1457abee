//! A hostile guest for each limit: it ends with that limit's name, and the host
//! goes on.

use std::time::Duration;

use nexus_runtime::{InvokeError, Limit, Outcome};

use crate::guests::{ECHO, LOG, NULL, agent, component, log, manifest, module};
use crate::support::{Host, call, hasty, small, success};

async fn host() -> Host {
    let host = Host::with(|options| small(&mut options.limits)).await;
    host.publish(agent("echo", "", "", ECHO)).await;
    host
}

fn limit(outcome: &Outcome) -> Option<Limit> {
    match outcome {
        Outcome::Exhausted { limit, .. } => Some(*limit),
        _ => None,
    }
}

#[tokio::test]
async fn cpu_memory_stack_calls_and_output_end_the_guest_that_uses_them_up() {
    let host = host().await;
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)";
    let flood = format!("(loop $again {} (br $again)) (unreachable)", log(1062, 4));
    let answer = |bytes: u32| {
        format!(
            "(local $at i32)
             (local.set $at (call $alloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const {bytes})))
             (memory.fill (local.get $at) (i32.const 49) (i32.const {bytes}))
             (call $ok (local.get $at) (i32.const {bytes}))"
        )
    };
    for (name, imports, body, expected) in [
        ("grows", "", grow.to_owned(), Limit::Memory),
        (
            "dives",
            "",
            "(drop (call $deeper (i64.const 0))) (unreachable)".to_owned(),
            Limit::Stack,
        ),
        ("talks", LOG, flood, Limit::HostCalls),
    ] {
        let outcome = host.run(agent(name, "", imports, &body)).await;
        assert_eq!(limit(&outcome), Some(expected), "{name}: {outcome:?}");
    }
    let hasty = Host::with(|options| hasty(&mut options.limits)).await;
    let outcome = hasty
        .run(agent("spins", "", "", "(call $forever) (unreachable)"))
        .await;
    assert_eq!(limit(&outcome), Some(Limit::Cpu), "{outcome:?}");
    let roomy = Host::new().await;
    for (name, bytes) in [("large", 3_500_000), ("huge", 9_000_000)] {
        let outcome = roomy.run(agent(name, "", "", &answer(bytes))).await;
        assert_eq!(limit(&outcome), Some(Limit::Output), "{name}: {outcome:?}");
    }
    assert_eq!(host.outcome("echo", "1").await, success("1"));
    assert_eq!(host.runtime.running(), 0);
}

#[tokio::test]
async fn one_call_passes_a_bounded_number_of_bytes() {
    let host = Host::new().await;
    let body = format!(
        "(drop (memory.grow (i32.const 160)))
         (call $log (i32.const 1) (i32.const 65536) (i32.const 9000000)) {NULL}"
    );
    let outcome = host.run(agent("shouts", "", LOG, &body)).await;
    assert_eq!(limit(&outcome), Some(Limit::HostCallBytes), "{outcome:?}");
}

#[tokio::test]
async fn time_on_the_clock_ends_a_guest_that_waits() {
    let host = Host::with(|options| options.limits.wall = Duration::from_millis(50)).await;
    let outcome = host
        .run(agent("waits", "", LOG, &format!("{} {NULL}", log(1057, 4))))
        .await;
    assert_eq!(limit(&outcome), Some(Limit::Wall), "{outcome:?}");
}

#[tokio::test]
async fn a_manifest_lowers_the_hosts_limits_and_never_raises_them() {
    let host = Host::with(|options| options.limits.memory = 8 << 20).await;
    let grow = "(i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (if (then (unreachable)))";
    let body = format!("{grow} {NULL}");
    let modest = host
        .run(agent("modest", "[limits]\nmemory = \"2MiB\"\n", "", &body))
        .await;
    assert_eq!(limit(&modest), Some(Limit::Memory));
    assert_eq!(
        host.run(agent("default", "", "", &body)).await,
        success("null")
    );
    let more = format!("(drop (memory.grow (i32.const 64))) {body}");
    let greedy = host
        .run(agent("greedy", "[limits]\nmemory = \"1GiB\"\n", "", &more))
        .await;
    assert_eq!(limit(&greedy), Some(Limit::Memory));
}

#[tokio::test]
async fn many_small_memories_are_worth_no_more_than_one() {
    let host = host().await;
    let two = module("", NULL).replace(
        "(memory (export \"memory\") 17)",
        "(memory (export \"memory\") 17) (memory 60)",
    );
    let packed = nexus_manifest::package::pack(&component(&two), &manifest("many", "")).unwrap();
    let refused = host.runtime.prepare(packed.into()).await.unwrap_err();
    assert!(refused.to_string().contains("memory"), "{refused}");
}

#[tokio::test]
async fn a_log_is_bounded_and_cannot_move_a_cursor() {
    let host = Host::with(|options| {
        options.limits.log_bytes = 40;
    })
    .await;
    let body = format!(
        "{0} {0} {0} {0} {0} {1} {NULL}",
        log(1029, 17),
        log(1037, 2)
    );
    let generation = host.publish(agent("logs", "", LOG, &body)).await;
    let running = host.start(generation.agent().as_str(), "null").await;
    running.outcome().await;
    let lines: Vec<_> = running.log().into_iter().map(|line| line.message).collect();
    assert_eq!(lines, ["bad-day it rained", "bad-day it rained"]);
    assert_eq!(running.record().dropped_logs, 4);
    for (text, harmless) in [
        ("\u{1b}[2J", "\\u{1b}[2J"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("user\u{202e}txt", "user\\u{202e}txt"),
        ("in\u{200b}visible", "in\\u{200b}visible"),
        ("\u{9b}31m", "\\u{9b}31m"),
        ("tab\tstays, so does ü", "tab\tstays, so does ü"),
    ] {
        assert_eq!(nexus_runtime::escape(text), harmless);
    }
}

#[tokio::test]
async fn one_agent_cannot_take_every_place() {
    let host = Host::with(|options| options.limits.concurrent_per_agent = 2).await;
    host.publish(agent("waits", "", LOG, &format!("{} {NULL}", log(1057, 4))))
        .await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let (one, _two) = (
        host.start("waits", "null").await,
        host.start("waits", "null").await,
    );
    let third = host.runtime.invoke(call("waits", "null")).await;
    assert!(matches!(third, Err(InvokeError::Busy { limit: 2, .. })));
    assert_eq!(host.outcome("echo", "1").await, success("1"));
    one.cancel("room");
    one.outcome().await;
    assert!(host.runtime.invoke(call("waits", "null")).await.is_ok());
}

#[tokio::test]
async fn more_invocations_than_slots_run_from_the_other_engine() {
    let host = Host::with(|options| options.slots = 2).await;
    host.publish(agent("waits", "", LOG, &format!("{} {NULL}", log(1057, 4))))
        .await;
    host.publish(agent("echo", "", "", ECHO)).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(host.start("waits", "null").await);
    }
    assert_eq!(host.outcome("echo", "1").await, success("1"));
    for running in waiting {
        running.cancel("done");
        assert!(matches!(
            *running.outcome().await,
            Outcome::Cancelled { .. }
        ));
    }
}
