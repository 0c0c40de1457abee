//! Stands in for the host's binary in this crate's tests: the sandbox helper
//! and the compiler, each in its mode.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(nexus_sandbox::MODE) => nexus_sandbox::exec_main(),
        Some(nexus_runtime::COMPILE_MODE) => nexus_runtime::compile_main(),
        _ => ExitCode::from(2),
    }
}
