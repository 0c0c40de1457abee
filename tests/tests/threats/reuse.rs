//! What one invocation leaves behind, and the next one could find: T8.

use serde_json::json;

use super::guests::{agent, module};
use super::support::host;

/// With input `1` it writes a canary into a global, a table and eight megabytes of memory. With
/// input `2` it looks at all of them, and at as much memory again as it can grow by.
const GUEST: &str = r#"
    (local $at i32) (local $end i32) (local $found i32)
    (if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const 49))
      (then
        (memory.fill (i32.const 131072) (i32.const 0xC5) (i32.const 8257536))
        (global.set $canary (i64.const -1))
        (table.fill $seats (i32.const 0) (ref.func $canary_function) (i32.const 64)))
      (else
        (drop (memory.grow (i32.const 128)))
        (local.set $end (i32.shl (memory.size) (i32.const 16)))
        (local.set $at (i32.const 131072))
        (loop $scan
          (local.set $found (i32.or (local.get $found) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br_if $scan (i32.lt_u (local.get $at) (local.get $end))))
        (local.set $found (i32.or (local.get $found) (i64.ne (global.get $canary) (i64.const 0))))
        (local.set $at (i32.const 0))
        (loop $seat
          (local.set $found (i32.or (local.get $found) (i32.eqz (ref.is_null (table.get $seats (local.get $at))))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $seat (i32.lt_u (local.get $at) (i32.const 64))))))
    (i32.store8 (i32.const 1040) (i32.add (i32.const 48) (local.get $found)))
    (call $ok (i32.const 1040) (i32.const 1))"#;

#[tokio::test]
async fn t08_nothing_of_one_invocation_is_left_for_the_next() -> anyhow::Result<()> {
    // Two places only, so that each is used again and again.
    let (_host, mut client) = host("[runtime]\ninstances = 2\n").await?;
    let items = "(global $canary (mut i64) (i64.const 0)) (table $seats 64 funcref) (func $canary_function) (elem declare func $canary_function)";
    let module = module("128", "", items, GUEST);
    // The same code under two names, as two tenants would have it.
    client.deploy(&agent("writer", "", &module)).await?;
    client.deploy(&agent("finder", "", &module)).await?;
    let mut found = 0;
    for round in 0..nexus_tests::amount(500, 10_000) {
        client.output("writer", &json!(1)).await?;
        let finder = if round % 2 == 0 { "finder" } else { "writer" };
        found += usize::from(client.output(finder, &json!(2)).await? != json!(0));
    }
    assert_eq!(found, 0);
    Ok(())
}
