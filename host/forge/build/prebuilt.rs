//! The templates as components, so that a host forges from them where there is no compiler: made as
//! the forge makes them, from the vendored crates alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::flags::FLAGS;
use super::libraries::{CRATES, LibraryBuild, TARGET};
use super::{Result, variable};

struct Compiler {
    rustc: PathBuf,
    version: String,
    /// Changes with the compiler and its standard library.
    fingerprint: String,
}

/// Compiles every template with the libraries that the project in `warm` names. Returns the directory
/// with the components, each by its template's name, and the text `toolchain`.
pub(super) fn build(warm: &Path, templates: &Path, out: &Path) -> Result<PathBuf> {
    let compiler = compiler()?;
    let here = out.join("prebuilt");
    fs::create_dir_all(&here)?;
    let target = here.join("target");
    libraries(&compiler, warm, &here, &target)?;

    let keep = here.join("keep");
    let jobs = here.join("jobs");
    for directory in [&keep, &jobs] {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
    }
    for entry in fs::read_dir(templates)? {
        let template = entry?.path();
        if !template.join("template.toml").is_file() {
            continue;
        }
        let name = template.file_name().ok_or("a template without a name")?;
        let job = jobs.join(name);
        fs::create_dir_all(job.join("src"))?;
        for file in ["src/lib.rs", "agent.toml"] {
            fs::copy(template.join(file), job.join(file))?;
        }
        let component = keep.join(name).with_extension("wasm");
        compile(&compiler, &target, &job, &component)?;
    }
    fs::write(keep.join("toolchain"), &compiler.version)?;
    Ok(keep)
}

fn compiler() -> Result<Compiler> {
    let launcher = PathBuf::from(variable("RUSTC")?);
    let version = ask(&launcher, "-vV")?;
    let sysroot = PathBuf::from(ask(&launcher, "--print=sysroot")?);
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let mut std: Vec<String> = fs::read_dir(&libraries)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("libstd-"))
        .collect();
    std.sort();
    if std.is_empty() {
        return Err(format!(
            "the templates are compiled for {TARGET}, which the Rust toolchain in {} lacks: run \
             scripts/install-wasm-target.sh, and build again",
            sysroot.display()
        )
        .into());
    }
    println!("cargo::rerun-if-changed={}", libraries.display());
    // The compiler itself, not a launcher that chooses one.
    let within = sysroot.join("bin/rustc");
    let rustc = if within.is_file() { within } else { launcher };
    let fingerprint = format!("{version}\n{}\n", std.join("\n"));
    Ok(Compiler {
        rustc,
        version,
        fingerprint,
    })
}

fn ask(rustc: &Path, question: &str) -> Result<String> {
    let output = Command::new(rustc).arg(question).output()?;
    if !output.status.success() {
        return Err(format!("`{} {question}` failed", rustc.display()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What agents are linked with, by one run of cargo, as the forge does it.
fn libraries(compiler: &Compiler, warm: &Path, here: &Path, target: &Path) -> Result {
    // What another compiler or other crates left would be found beside the new ones.
    let stamp = here.join("stamp");
    let lock = fs::read_to_string(warm.join("Cargo.lock"))?;
    let now = format!("{}{lock}", compiler.fingerprint);
    if fs::read_to_string(&stamp).ok().as_ref() != Some(&now) {
        if target.exists() {
            fs::remove_dir_all(target)?;
        }
        fs::write(&stamp, &now)?;
    }
    let cargo = PathBuf::from(variable("CARGO")?);
    let libraries = LibraryBuild {
        cargo: &cargo,
        rustc: &compiler.rustc,
        project: warm,
        home: &here.join("cargo"),
        target,
        // The toolchain that builds the host, and so that both builds together take no more processors
        // than one may.
        variables: &["RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_MAKEFLAGS"],
    };
    run(libraries.command(), "the libraries of the templates")
}

fn compile(compiler: &Compiler, target: &Path, job: &Path, component: &Path) -> Result {
    let libraries = target.join(TARGET).join("release/deps");
    let mut command = Command::new(&compiler.rustc);
    command.args(FLAGS);
    for name in CRATES {
        let library = library(&libraries, name)?;
        command
            .arg("--extern")
            .arg(format!("{name}={}", library.display()));
    }
    for libraries in [libraries, target.join("release/deps")] {
        command.arg(format!("-Ldependency={}", libraries.display()));
    }
    command
        .arg(format!("--remap-path-prefix={}=/agent", job.display()))
        .arg("-o")
        .arg(component)
        .arg("src/lib.rs")
        .current_dir(job);
    run(command, &format!("the template in {}", job.display()))
}

fn library(libraries: &Path, name: &str) -> Result<PathBuf> {
    let start = format!("lib{name}-");
    let mut found = fs::read_dir(libraries)?.flatten().filter(|entry| {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        file.starts_with(&start) && file.ends_with(".rlib")
    });
    match (found.next(), found.next()) {
        (Some(library), None) => Ok(library.path()),
        _ => Err(format!("cargo made no library of {name}, or several").into()),
    }
}

fn run(mut command: Command, what: &str) -> Result {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what} did not compile: {said}").into())
}
