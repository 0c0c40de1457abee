//! Guests in WebAssembly text, made components with the real WIT.

use std::path::Path;

use nexus_manifest::package;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve, WorldId};

/// A core module that answers with what `body` leaves on the stack: the address
/// of the result. `$ptr` and `$len` are the input; `$ok` and `$fail` make results.
pub(crate) fn module(imports: &str, body: &str) -> String {
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 17)
  (global $heap (mut i32) (i32.const 65536))
  (func $alloc (export "cabi_realloc")
    (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $new)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.div_u (local.get $new) (i32.const 65536)) (i32.const 1)))))
    (local.get $at))
  (func $ok (param $ptr i32) (param $len i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $ptr))
    (i32.store (i32.const 24) (local.get $len))
    (i32.const 16))
  (func $fail (param $code i32) (param $code_len i32) (param $text i32) (param $text_len i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (local.get $code))
    (i32.store (i32.const 24) (local.get $code_len))
    (i32.store (i32.const 28) (local.get $text))
    (i32.store (i32.const 32) (local.get $text_len))
    (i32.const 16))
  (func $forever (loop $again (br $again)))
  (func $deeper (param i64) (result i64)
    (i64.add (i64.const 1) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
  (data (i32.const 1024) "null bad-day it rained panic ask wait call {{nope \ff\fe")
  (func (export "nexus:agent/handler@0.1.0#invoke") (param $ptr i32) (param $len i32) (result i32)
    {body}))"#
    )
}

/// The text `null` as an answer.
pub(crate) const NULL: &str = "(call $ok (i32.const 1024) (i32.const 4))";
/// The input as an answer.
pub(crate) const ECHO: &str = "(call $ok (local.get $ptr) (local.get $len))";
/// The import of `log.write`, as `$log`.
pub(crate) const LOG: &str =
    r#"(import "nexus:agent/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
/// The import of `space.open`, as `$open`.
pub(crate) const OPEN: &str = r#"(import "nexus:agent/memory@0.1.0" "[static]space.open" (func $open (param i32 i32 i32 i32)))"#;

/// A call of `log.write` with a word of the data segment.
pub(crate) fn log(at: u32, len: u32) -> String {
    format!("(call $log (i32.const 1) (i32.const {at}) (i32.const {len}))")
}

/// A component without a manifest.
pub(crate) fn component(module: &str) -> Vec<u8> {
    component_of("agent", module)
}

/// A component of one of the WIT's worlds, without a manifest.
pub(crate) fn component_of(world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = agent_package(&mut resolve);
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    encode(module, &resolve, world)
}

/// A component of the world that `wit` defines beside the agent's own, which is
/// called `test:guest/guest`.
pub(crate) fn component_with(wit: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    agent_package(&mut resolve);
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    encode(module, &resolve, world)
}

fn agent_package(resolve: &mut Resolve) -> PackageId {
    resolve
        .push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit"))
        .unwrap()
        .0
}

fn encode(module: &str, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// A manifest with further lines.
pub(crate) fn manifest(name: &str, rest: &str) -> String {
    format!("format = 1\nname = \"{name}\"\nversion = \"0.1.0\"\nsummary = \"A test\"\n{rest}")
}

/// An agent: imports, body and manifest.
pub(crate) fn agent(name: &str, rest: &str, imports: &str, body: &str) -> bytes::Bytes {
    let component = component(&module(imports, body));
    package::pack(&component, &manifest(name, rest))
        .unwrap()
        .into()
}
