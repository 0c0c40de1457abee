use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use nexus_sandbox::{Job, Libraries};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::Error;
use super::libraries::TARGET;
use crate::assets;

/// Where the compiler is, if it is not where it usually is.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `rustc`; found on PATH or in `~/.cargo/bin` if not named.
    pub rustc: Option<PathBuf>,
    /// `cargo`, likewise.
    pub cargo: Option<PathBuf>,
}

/// A compiler that can make agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler itself, not a launcher that chooses one.
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) sysroot: PathBuf,
    version: String,
    fingerprint: Fingerprint,
    libraries: Libraries,
}

/// Changes when the compiler or its standard library is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    compiler: (u64, Option<SystemTime>),
    libraries: Vec<String>,
}

impl Toolchain {
    /// Looks for the compiler and asks it what it is.
    pub async fn find(config: &Config) -> Result<Self, Error> {
        let launcher = locate("rustc", config.rustc.as_deref())?;
        let version = ask(&launcher, "-vV").await?;
        let sysroot = PathBuf::from(ask(&launcher, "--print=sysroot").await?);
        let within =
            |name: &str| Some(sysroot.join("bin").join(name)).filter(|path| path.is_file());
        let rustc = within("rustc").unwrap_or(launcher);
        let cargo = match (&config.cargo, within("cargo")) {
            (None, Some(cargo)) => cargo,
            (named, _) => locate("cargo", named.as_deref())?,
        };
        let fingerprint = fingerprint(&rustc, &sysroot)?;
        let libraries = libraries(&rustc, &sysroot).await;
        Ok(Self {
            rustc,
            cargo,
            sysroot,
            version,
            fingerprint,
            libraries,
        })
    }

    /// Gives a job the compiler: itself, its linkers, what they are started with, and the libraries
    /// of its targets. Of the machine's other files it gives none.
    pub(crate) fn grant(&self, job: &mut Job) {
        self.libraries.grant(job);
        let libraries = self.sysroot.join("lib");
        job.read_exec.push(match self.libraries.are_exact() {
            true => libraries.join("rustlib"),
            false => libraries,
        });
    }

    /// The compiler's own path.
    pub fn rustc(&self) -> &std::path::Path {
        &self.rustc
    }

    /// Its cargo. It runs the compiler on PATH unless RUSTC names another.
    pub fn cargo(&self) -> &std::path::Path {
        &self.cargo
    }

    /// What `rustc -vV` says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Names the libraries made by this compiler from this binary's sources:
    /// what either changes into has another key.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let parts = [self.version.as_bytes(), assets::WARM];
        for part in parts
            .into_iter()
            .chain(self.fingerprint.libraries.iter().map(String::as_bytes))
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..16])
    }

    /// Whether it is still the compiler that was found.
    pub(crate) fn unchanged(&self) -> bool {
        fingerprint(&self.rustc, &self.sysroot).is_ok_and(|now| now == self.fingerprint)
    }
}

fn fingerprint(rustc: &Path, sysroot: &Path) -> Result<Fingerprint, Error> {
    let compiler = std::fs::metadata(rustc).map_err(Error::io("look at", rustc))?;
    let directory = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let mut libraries: Vec<String> = std::fs::read_dir(&directory)
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| name.ends_with(".rlib"))
                .collect()
        })
        .unwrap_or_default();
    if !libraries.iter().any(|name| name.starts_with("libstd-")) {
        return Err(Error::NoTarget {
            sysroot: sysroot.to_owned(),
        });
    }
    libraries.sort();
    Ok(Fingerprint {
        compiler: (compiler.len(), compiler.modified().ok()),
        libraries,
    })
}

/// What the compiler and its linkers are started with.
async fn libraries(rustc: &Path, sysroot: &Path) -> Libraries {
    let mut programs = vec![rustc.to_owned()];
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib"));
    for host in hosts.into_iter().flatten().flatten() {
        let linkers = ["rust-lld", "wasm-component-ld"];
        let linkers = linkers.map(|name| host.path().join("bin").join(name));
        programs.extend(linkers.into_iter().filter(|path| path.is_file()));
    }
    let asked = tokio::task::spawn_blocking(move || {
        let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
        Libraries::of(&programs)
    });
    // Only a runtime that stops drops it; nobody compiles then.
    asked.await.unwrap_or_else(|_| Libraries::of(&[]))
}

fn locate(program: &'static str, named: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = named {
        let path = path.to_owned();
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Error::NotThere { program, path })
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    std::env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(Error::NoCompiler { program })
}

async fn ask(program: &Path, question: &str) -> Result<String, Error> {
    let broken = |message: String| Error::Broken {
        program: program.to_owned(),
        message,
    };
    let output = Command::new(program)
        .arg(question)
        // A launcher would go to the network for a toolchain it lacks.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| broken(error.to_string()))?;
    if !output.status.success() {
        return Err(broken(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
