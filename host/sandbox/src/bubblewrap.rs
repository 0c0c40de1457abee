use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::spec::Spec;

/// The command line that gives bubblewrap the same job: new namespaces of
/// every kind (so no network), an empty root with only the spec's paths, no
/// variables but the spec's.
pub(crate) fn arguments(spec: &Spec) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--unshare-all",
        "--die-with-parent",
        "--clearenv",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
    ]
    .map(OsString::from)
    .into();
    let mut bind = |how: &str, path: &Path| {
        arguments.extend([how.into(), path.into(), path.into()]);
    };
    for path in spec
        .read
        .iter()
        .chain(&spec.read_exec)
        .chain([&spec.program])
    {
        bind("--ro-bind-try", path);
    }
    for path in spec.write.iter().filter(|path| !path.starts_with("/dev")) {
        bind("--bind", path);
    }
    for (name, value) in &spec.env {
        arguments.extend(["--setenv".into(), name.into(), value.into()]);
    }
    arguments.extend([
        "--chdir".into(),
        PathBuf::from(&spec.cwd).into(),
        "--".into(),
    ]);
    arguments.push(spec.program.clone().into());
    arguments.extend(spec.args.iter().map(OsString::from));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Means;

    #[test]
    fn shares_nothing_but_the_named_paths() {
        let spec = Spec {
            program: "/tool".into(),
            args: vec!["--x".into()],
            env: vec![("A".into(), "b".into())],
            read: vec!["/in".into()],
            read_exec: vec!["/lib".into()],
            write: vec!["/out".into(), "/dev/null".into()],
            cwd: "/out".into(),
            cpu_s: 1,
            address_space: 1,
            file_size: 1,
            open_files: 1,
            means: Means::Bubblewrap("/bwrap".into()),
        };
        let text: Vec<String> = arguments(&spec)
            .into_iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            text.join(" "),
            "--unshare-all --die-with-parent --clearenv --dev /dev --proc /proc \
             --ro-bind-try /in /in --ro-bind-try /lib /lib --ro-bind-try /tool /tool \
             --bind /out /out --setenv A b --chdir /out -- /tool --x"
        );
    }
}
