//! Guests in WebAssembly text, for what no compiler would write.

use nexus_tests::{component, guests::root};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Answers `null`.
pub(crate) const NULL: &str = "(call $ok (i32.const 1024) (i32.const 4))";
/// The import of `log.write`, as `$log`.
pub(crate) const LOG: &str =
    r#"(import "nexus:agent/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;

/// A core module of an agent that answers with what `body` leaves on the stack: the address of the
/// result. `$ptr` and `$len` are the input, `$ok` makes a result. `memory` is its type, as `17`.
pub(crate) fn module(memory: &str, imports: &str, items: &str, body: &str) -> String {
    format!(
        r#"(module
  {imports}
  (memory (export "memory") {memory})
  (global $heap (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get 3)))
    (local.get $at))
  (func $ok (param $ptr i32) (param $len i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $ptr))
    (i32.store (i32.const 24) (local.get $len))
    (i32.const 16))
  (data (i32.const 1024) "null")
  {items}
  (func (export "nexus:agent/handler@0.1.0#invoke") (param $ptr i32) (param $len i32) (result i32)
    {body}))"#
    )
}

/// The agent `name` made of a core module, with further lines of manifest.
pub(crate) fn agent(name: &str, rest: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
    let world = resolve.select_world(&[package], Some("agent")).unwrap();
    pack(name, rest, encode(&resolve, world, module))
}

/// An agent that imports, beside what agents get, what `wit` declares in the world
/// `test:guest/guest`.
pub(crate) fn agent_of(name: &str, rest: &str, wit: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).unwrap();
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    pack(name, rest, encode(&resolve, world, module))
}

fn encode(resolve: &Resolve, world: wit_parser::WorldId, module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    encoder.module(&module).unwrap().encode().unwrap()
}

/// A component with the manifest of an agent without input schema.
pub(crate) fn pack(name: &str, rest: &str, mut bytes: Vec<u8>) -> Vec<u8> {
    component::append(&mut bytes, &manifest(name, rest));
    bytes
}

/// A manifest with further lines.
pub(crate) fn manifest(name: &str, rest: &str) -> String {
    format!("format = 1\nname = \"{name}\"\nversion = \"0.1.0\"\nsummary = \"A test\"\n{rest}")
}
