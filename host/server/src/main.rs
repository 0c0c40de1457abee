//! The binary `nexus`: the host, its command line, and the two helper modes that the host starts
//! itself again for.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The helper modes confine their own process and so have to begin before any other thread.
    match std::env::args().nth(1).as_deref() {
        Some(nexus_sandbox::MODE) => nexus_sandbox::exec_main(),
        Some(nexus_runtime::COMPILE_MODE) => nexus_runtime::compile_main(),
        _ => nexus_server::cli::main(),
    }
}
