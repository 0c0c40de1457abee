//! Machine code comes from a sandboxed child.

use nexus_runtime::{Compiler, PrepareError};

use crate::guests::{ECHO, agent, component, manifest};
use crate::support::{Host, helper, success};

fn child() -> Compiler {
    Compiler::default().program(helper()).sandbox(helper())
}

#[tokio::test]
async fn a_component_compiled_in_the_child_runs() {
    let host = Host::with(|options| options.compiler = child()).await;
    assert_eq!(host.run(agent("echo", "", "", ECHO)).await, success("null"));
}

#[tokio::test]
async fn a_compiler_without_room_ends_and_the_host_goes_on() {
    let limits = nexus_sandbox::Limits {
        address_space: 8 << 20,
        ..Default::default()
    };
    let host = Host::with(|options| options.compiler = child().limits(limits)).await;
    let refused = host.runtime.prepare(agent("echo", "", "", ECHO)).await;
    assert!(
        matches!(refused, Err(PrepareError::Compile(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn bombs_are_refused_before_they_reach_the_compiler() {
    let host = Host::new().await;
    let loops = "(loop ".repeat(65) + &")".repeat(65);
    let locals = format!("(local {})", "i32 ".repeat(10_001));
    let long = "(drop (i64.const 9223372036854775807))".repeat(100_000);
    for (what, function) in [("nested loops", loops), ("locals", locals), ("bytes", long)] {
        let module = crate::guests::module("", ECHO).replace(
            "(func $forever",
            &format!("(func $bomb {function}) (func $forever"),
        );
        let packed =
            nexus_manifest::package::pack(&component(&module), &manifest("bomb", "")).unwrap();
        let refused = host.runtime.prepare(packed.into()).await.unwrap_err();
        assert!(refused.to_string().contains(what), "{refused}");
    }
}
