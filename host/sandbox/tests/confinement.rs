//! What a confined program can't do, tried with a shell.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use nexus_sandbox::{Error, Job, Limit, Limits, Output, system_libraries};

/// A shell in `directory` with the system's programs and nothing else.
fn shell(directory: &Path, script: &str) -> Job {
    let mut job = Job::new("/bin/sh");
    job.helper = Some(env!("CARGO_BIN_EXE_nexus-sandbox-helper").into());
    job.args = vec!["-c".into(), script.into()];
    job.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    job.read_exec = system_libraries();
    job.read_exec.extend(["/usr/bin".into(), "/bin".into()]);
    job.write = vec![directory.into(), "/dev/null".into()];
    job.cwd = directory.into();
    job
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn run(script: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    shell(directory.path(), script).run().await.unwrap()
}

#[tokio::test]
async fn works_in_its_own_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut job = shell(
        directory.path(),
        "cat > a; mkdir d; ln a d/b; cat d/b; echo no >&2; exit 3",
    );
    job.stdin = b"yes".to_vec();
    let output = job.run().await.unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"yes");
    assert_eq!(output.stderr, b"no\n");
    assert_eq!(output.exhausted, None);
}

#[tokio::test]
async fn reads_and_writes_nothing_else() {
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    std::fs::write(&canary, "canary-bytes").unwrap();
    let link = outside.path().join("new");
    let script = format!(
        "cat {canary}; ln -s {canary} l; cat l; ls {dir}; echo x > {new}; cat /etc/passwd; true",
        canary = canary.display(),
        dir = outside.path().display(),
        new = link.display(),
    );
    let output = run(&script).await;
    assert_eq!(text(&output.stdout), "");
    assert!(!text(&output.stderr).contains("canary-bytes"));
    assert!(!link.exists());
}

#[tokio::test]
async fn named_inputs_can_be_read_but_not_changed() {
    let inputs = tempfile::tempdir().unwrap();
    let file = inputs.path().join("in");
    std::fs::write(&file, "given").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut job = shell(
        directory.path(),
        &format!("cat {0}; echo changed > {0}; rm {0}", file.display()),
    );
    job.read.push(inputs.path().into());
    let output = job.run().await.unwrap();
    assert_eq!(output.stdout, b"given");
    assert_eq!(std::fs::read(&file).unwrap(), b"given");
}

#[tokio::test]
async fn has_no_variables_but_the_given() {
    // The test itself has many, PATH and HOME among them.
    let output = run("env").await;
    let out = text(&output.stdout);
    let names: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split('=').next())
        .filter(|name| !["PATH", "PWD", "_", "SHLVL", "OLDPWD"].contains(name))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn reaches_no_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Perl is part of every Debian; bash would do, but is not everywhere.
    let script = format!(
        "perl -MSocket -e 'socket(my $s, PF_INET, SOCK_STREAM, 0) or die \"$!\"; \
         connect($s, sockaddr_in({port}, inet_aton(\"127.0.0.1\"))) or die \"$!\"; print \"connected\"'; \
         perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0) and print \"unix\"'; \
         perl -MSocket -e 'socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) and print \"pair\"'"
    );
    let output = run(&script).await;
    assert_eq!(text(&output.stdout), "pair", "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("Operation not permitted"),
        "{}",
        text(&output.stderr)
    );
    assert!(listener.accept().is_err());
}

#[tokio::test]
async fn ends_at_its_cpu_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut job = shell(directory.path(), "while :; do :; done");
    job.limits.cpu_s = 1;
    assert_eq!(job.run().await.unwrap().exhausted, Some(Limit::Cpu));
}

#[tokio::test]
async fn ends_at_its_wall_limit_and_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    // The background process would touch the file for ever if it survived;
    // setsid is the usual way out of a process group.
    let mut job = shell(
        directory.path(),
        "setsid sh -c 'sleep 600' & sh -c 'echo $$ > pid; exec sleep 600' & sleep 600",
    );
    job.limits.wall = Duration::from_secs(3);
    let output = job.run().await.unwrap();
    assert_eq!(output.exhausted, Some(Limit::Wall));
    assert!(
        text(&output.stderr).contains("Operation not permitted"),
        "setsid is refused: {}",
        text(&output.stderr)
    );
    let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
    assert!(ended(pid.trim()).await);
}

#[tokio::test]
async fn leaves_no_process_behind_a_program_that_ended() {
    let directory = tempfile::tempdir().unwrap();
    let job = shell(directory.path(), "sleep 600 & echo $! > pid");
    let output = job.run().await.unwrap();
    assert!(output.status.success());
    let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
    assert!(ended(pid.trim()).await);
}

#[tokio::test]
async fn a_host_that_is_killed_takes_what_its_jobs_have_started_along() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    // The shell dies with its host; what it has started is nobody's child then. Its input ends once the
    // host follows the job, guard and all.
    let script = "read begin; sleep 100000 & echo $! > pid.new; mv pid.new pid; wait";
    let mut host = std::process::Command::new(env!("CARGO_BIN_EXE_nexus-sandbox-helper"))
        .arg("host")
        .arg(directory.path())
        .arg(script)
        .spawn()
        .unwrap();
    while !pid_file.exists() {
        assert!(host.try_wait().unwrap().is_none(), "the host has ended");
        tokio::task::yield_now().await;
    }
    host.kill().unwrap();
    host.wait().unwrap();
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(ended(pid.trim()).await);
}

#[tokio::test]
async fn a_dropped_job_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let job = shell(
        directory.path(),
        "echo $$ > pid.new; mv pid.new pid; exec sleep 600",
    );
    let running = tokio::spawn(job.run());
    while !pid_file.exists() {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(ended(pid.trim()).await);
}

/// Waits until the process is gone, or dead and not yet collected.
async fn ended(pid: &str) -> bool {
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return true,
            Ok(stat) if stat.contains(") Z ") => return true,
            Ok(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn output_and_files_are_capped() {
    let directory = tempfile::tempdir().unwrap();
    let mut job = shell(directory.path(), "while :; do echo 0123456789; done");
    job.output_cap = 1000;
    let output = job.run().await.unwrap();
    assert_eq!(output.exhausted, Some(Limit::Output));
    assert_eq!(output.stdout.len(), 1000);

    let mut job = shell(directory.path(), "exec head -c 100000 /dev/zero > big");
    job.read.push("/dev/zero".into());
    job.limits.file_size = 4096;
    assert_eq!(job.run().await.unwrap().exhausted, Some(Limit::FileSize));
}

#[tokio::test]
async fn memory_is_capped() {
    let directory = tempfile::tempdir().unwrap();
    let mut job = shell(
        directory.path(),
        "exec perl -e 'my $x = \"a\" x (1 << 30); print 1'",
    );
    job.limits = Limits {
        address_space: 256 << 20,
        ..Limits::default()
    };
    let output = job.run().await.unwrap();
    assert!(!output.status.success());
    assert_eq!(
        output.exhausted,
        Some(Limit::Memory),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_setup_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut job = shell(directory.path(), "");
    job.program = "/nowhere/tool".into();
    assert!(
        matches!(job.run().await, Err(Error::Setup(message)) if message.contains("/nowhere/tool"))
    );
}
