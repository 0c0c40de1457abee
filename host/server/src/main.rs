//! The binary `nexus`: the host, its command line, and the two helper modes that the host starts
//! itself again for.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is given back: what a request, a connection or a guest's call has held of a
/// secret is gone with it, also where it passed through the hands of other people's code.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // The helper modes confine their own process and so have to begin before any other thread.
    match std::env::args().nth(1).as_deref() {
        Some(nexus_sandbox::MODE) => nexus_sandbox::exec_main(),
        Some(nexus_runtime::COMPILE_MODE) => nexus_runtime::compile_main(),
        _ => nexus_server::cli::main(),
    }
}
