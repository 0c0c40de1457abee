use std::path::Path;

use nexus_sandbox::Job;

use super::flags::FLAGS;
use crate::toolchain::Warm;

/// The source, relative to the job's directory.
pub(super) const SOURCE: &str = "src/lib.rs";
/// The manifest, which the SDK's `export!` looks for above the source.
pub(super) const MANIFEST: &str = "agent.toml";
/// The component.
pub(super) const COMPONENT: &str = "out/agent.wasm";
/// What the compiler needs for itself.
pub(super) const TEMPORARY: &str = "out/tmp";
/// The only directory it may change.
pub(super) const OUT: &str = "out";

/// What the compiler is called with, to compile the project in `directory` from
/// there: `src/lib.rs` and `agent.toml` to `out/agent.wasm`. For those who want
/// to repeat a build by hand.
pub fn arguments(warm: &Warm, directory: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    for (name, library) in &warm.externs {
        arguments.push("--extern".to_owned());
        arguments.push(format!("{name}={}", library.display()));
    }
    for libraries in [
        crate::toolchain::AGENT_LIBRARIES,
        crate::toolchain::COMPILER_LIBRARIES,
    ] {
        let path = warm.directory.join(libraries);
        arguments.push(format!("-Ldependency={}", path.display()));
    }
    arguments.push(format!(
        "--remap-path-prefix={}=/agent",
        directory.display()
    ));
    arguments.extend(["-o", COMPONENT, SOURCE].map(str::to_owned));
    arguments
}

/// The compiler on the job in `directory`, with no right beyond it.
pub(super) fn job(warm: &Warm, directory: &Path) -> Job {
    let mut job = Job::new(&warm.toolchain.rustc);
    job.args = arguments(warm, directory);
    job.env = vec![
        // The linker is in the sysroot; nothing else is to be found.
        ("PATH".to_owned(), "/nonexistent".to_owned()),
        // Relative, because a source can read it: where this machine keeps things is not told.
        ("TMPDIR".to_owned(), TEMPORARY.to_owned()),
    ];
    job.cwd = directory.to_owned();
    job.read = vec![directory.join("src"), directory.join(MANIFEST)];
    warm.toolchain.grant(&mut job);
    // Procedural macros are libraries that the compiler loads.
    job.read_exec.push(warm.directory.clone());
    job.write = vec![directory.join(OUT), "/dev/null".into()];
    job
}
