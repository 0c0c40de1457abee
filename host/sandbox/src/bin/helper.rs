//! Stands in for the host binary where this crate tests itself: as its helper, and, as
//! `host DIRECTORY SCRIPT`, as a host that runs one job.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [nexus_sandbox::MODE, ..] => nexus_sandbox::exec_main(),
        ["host", directory, script] => host(directory, script),
        _ => {}
    }
}

fn host(directory: &str, script: &str) {
    let mut job = nexus_sandbox::Job::new("/bin/sh");
    job.args = vec!["-c".into(), script.into()];
    job.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    job.read_exec = nexus_sandbox::system_libraries();
    job.read_exec.extend(["/usr/bin".into(), "/bin".into()]);
    job.write = vec![directory.into(), "/dev/null".into()];
    job.cwd = directory.into();
    job.limits.wall = std::time::Duration::from_secs(600);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(job.run()).unwrap();
}
