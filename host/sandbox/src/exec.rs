use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::guard::{self, GUARD};
use crate::spec::{Means, Spec};
use crate::{bubblewrap, confine, seccomp};

/// The helper's exit code when the program was not started.
pub(crate) const NOT_STARTED: i32 = 125;
/// Stands before the helper's own message on standard error.
pub(crate) const MESSAGE: &str = "nexus-sandbox: ";

/// Becomes the program that the second argument describes, confined.
///
/// To be called at the very start of `main`, before any thread exists, when
/// the first argument is [`MODE`](crate::MODE). It returns to nobody: either
/// the process becomes the program, or it ends with a message for the host.
pub fn exec_main() -> ! {
    let message = match std::env::args().nth(2) {
        Some(text) if text == GUARD => {
            guard::watch(std::io::stdin().lock());
            std::process::exit(0);
        }
        Some(text) => match serde_json::from_str(&text) {
            Ok(spec) => become_program(&spec),
            Err(error) => format!("read the job: {error}"),
        },
        None => "this mode is for the host itself".to_owned(),
    };
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{MESSAGE}{message}");
    std::process::exit(NOT_STARTED);
}

/// Returns only when something stopped it.
fn become_program(spec: &Spec) -> String {
    // A host that is killed takes its jobs along.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("tie the job to the host: {error}");
    }
    if let Err(error) = std::env::set_current_dir(&spec.cwd) {
        return format!("enter {}: {error}", spec.cwd.display());
    }
    if let Err(message) = limit(spec) {
        return message;
    }
    let mut command = match &spec.means {
        Means::Landlock => {
            if let Err(message) = confine::landlock(spec).and_then(|()| seccomp::install()) {
                return message;
            }
            program(spec)
        }
        Means::Bubblewrap(path) => {
            let mut command = Command::new(path);
            command.args(bubblewrap::arguments(spec)).env_clear();
            command
        }
        Means::Unconfined => {
            // Whoever allowed this gets what the kernel has.
            let _ = seccomp::install();
            program(spec)
        }
    };
    let error = command.exec();
    format!("start {}: {error}", spec.program.display())
}

fn program(spec: &Spec) -> Command {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)));
    command
}

fn limit(spec: &Spec) -> Result<(), String> {
    let limits = [
        // The signal at the soft limit tells this end from others.
        (Resource::Cpu, spec.cpu_s, spec.cpu_s.saturating_add(1)),
        (Resource::As, spec.address_space, spec.address_space),
        (Resource::Fsize, spec.file_size, spec.file_size),
        (Resource::Nofile, spec.open_files, spec.open_files),
        (Resource::Core, 0, 0),
    ];
    for (resource, soft, hard) in limits {
        // A limit that is already stricter can't be raised, nor need it be.
        let ceiling = rustix::process::getrlimit(resource)
            .maximum
            .unwrap_or(u64::MAX);
        let wanted = Rlimit {
            current: Some(soft.min(ceiling)),
            maximum: Some(hard.min(ceiling)),
        };
        setrlimit(resource, wanted).map_err(|error| format!("limit {resource:?}: {error}"))?;
    }
    Ok(())
}
