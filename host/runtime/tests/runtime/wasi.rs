//! The virtual WASI, as a guest sees it.

use nexus_manifest::package;
use nexus_runtime::Outcome;

use crate::guests::{NULL, component_with, manifest, module};
use crate::support::Host;

const WIT: &str = r#"
package test:guest;

world guest {
  include nexus:agent/agent@0.1.0;
  import wasi:clocks/monotonic-clock@0.2.6;
  import wasi:random/random@0.2.6;
  import wasi:cli/exit@0.2.6;
}

package wasi:io@0.2.6 {
  interface poll {
    resource pollable {
      block: func();
    }
  }
}

package wasi:clocks@0.2.6 {
  interface monotonic-clock {
    use wasi:io/poll@0.2.6.{pollable};
    now: func() -> u64;
    subscribe-duration: func(when: u64) -> pollable;
  }
}

package wasi:random@0.2.6 {
  interface random {
    get-random-u64: func() -> u64;
  }
}

package wasi:cli@0.2.6 {
  interface exit {
    exit: func(status: result);
  }
}
"#;

const IMPORTS: &str = r#"
  (import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
  (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:random/random@0.2.6" "get-random-u64" (func $random (result i64)))
  (import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))"#;

fn guest(body: &str) -> bytes::Bytes {
    let component = component_with(
        WIT,
        &module(IMPORTS, &format!("(local $then i64) (local $n i32) {body}")),
    );
    package::pack(&component, &manifest("guest", ""))
        .unwrap()
        .into()
}

#[tokio::test]
async fn time_stands_still_but_for_a_sleep() {
    let host = Host::new().await;
    let same = "(if (i64.ne (call $now) (local.get $then)) (then (unreachable)))";
    let body = format!(
        "(local.set $then (call $now))
         (loop $busy (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $busy (i32.lt_u (local.get $n) (i32.const 3000000))))
         {same}
         (call $block (call $timer (i64.const 20000000)))
         (if (i64.lt_u (i64.sub (call $now) (local.get $then)) (i64.const 20000000)) (then (unreachable)))
         (local.set $then (call $now))
         {same} {NULL}"
    );
    let outcome = host.run(guest(&body)).await;
    assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
}

#[tokio::test]
async fn random_numbers_differ_within_an_invocation() {
    let host = Host::new().await;
    let body = format!("(if (i64.eq (call $random) (call $random)) (then (unreachable))) {NULL}");
    let outcome = host.run(guest(&body)).await;
    assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_exit_is_no_answer() {
    let host = Host::new().await;
    let outcome = host
        .run(guest("(call $exit (i32.const 0)) (unreachable)"))
        .await;
    assert!(
        matches!(&outcome, Outcome::Trapped { message } if message.contains("exit(0)")),
        "{outcome:?}"
    );
}
