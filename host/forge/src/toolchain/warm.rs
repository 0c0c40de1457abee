use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::Error;
use super::find::Toolchain;
use super::libraries::{CRATES, LibraryBuild, TARGET};
use crate::assets;

/// Prebuilt libraries, ready to be linked with.
#[derive(Debug, Clone)]
pub struct Warm {
    /// The compiler that made them.
    pub toolchain: Toolchain,
    pub(crate) directory: PathBuf,
    /// Crate name to library.
    pub(crate) externs: BTreeMap<String, PathBuf>,
}

/// Crates for agents, and procedural macros for the compiler.
pub(crate) const AGENT_LIBRARIES: &str = "agent";
pub(crate) const COMPILER_LIBRARIES: &str = "compiler";
/// Crate name to file name, and the sign that a directory is complete.
const INDEX: &str = "externs.json";
/// Whoever holds this file builds.
pub(crate) const LOCK: &str = "lock";
/// Long beyond what a slow machine takes.
const PATIENCE: Duration = Duration::from_secs(900);

impl Warm {
    /// Whether there are libraries for this compiler in `directory`.
    pub(crate) fn is_built(directory: &Path, toolchain: &Toolchain) -> bool {
        directory.join(toolchain.key()).join(INDEX).is_file()
    }

    /// Opens the libraries for this compiler in `directory`, building them
    /// first if they are not there. A build that is interrupted leaves nothing
    /// that is taken for a whole one.
    pub(crate) async fn open(directory: &Path, toolchain: Toolchain) -> Result<Self, Error> {
        let directory =
            &std::fs::canonicalize(directory).map_err(Error::io("resolve", directory))?;
        let home = directory.join(toolchain.key());
        // Several builders may share the directory: one builds, the others wait for it.
        let _building = if home.join(INDEX).is_file() {
            None
        } else {
            Some(lock(directory).await?)
        };
        if !home.join(INDEX).is_file() {
            let stage = tempdir(directory, "building-")?;
            let built = build(&stage.0, &toolchain).await?;
            // An earlier, incomplete directory of this name can only be foreign.
            let _ = std::fs::remove_dir_all(&home);
            std::fs::rename(&built, &home).map_err(Error::io("move into place", &home))?;
        }
        let index = home.join(INDEX);
        let text = std::fs::read(&index).map_err(Error::io("read", &index))?;
        let names: BTreeMap<String, String> = serde_json::from_slice(&text)
            .map_err(|error| Error::Warm(format!("{}: {error}", index.display())))?;
        let externs = names
            .into_iter()
            .map(|(name, file)| (name, home.join(AGENT_LIBRARIES).join(file)))
            .collect();
        Ok(Self {
            toolchain,
            directory: home,
            externs,
        })
    }
}

/// Holds the right to build in a directory until it is dropped.
async fn lock(directory: &Path) -> Result<std::fs::File, Error> {
    let path = directory.join(LOCK);
    let locked = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::create(&path).map_err(Error::io("create", &path))?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(file)
    });
    locked
        .await
        .map_err(|error| Error::Warm(error.to_string()))?
}

/// A directory that goes away with its owner.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is cleared at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn tempdir(within: &Path, prefix: &str) -> Result<Scratch, Error> {
    let path = within.join(format!("{prefix}{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    // The compiler names files by their real path.
    let path = std::fs::canonicalize(&path).map_err(Error::io("resolve", &path))?;
    Ok(Scratch(path))
}

/// Unpacks and compiles the warm project in `stage`; returns the directory to
/// keep.
async fn build(stage: &Path, toolchain: &Toolchain) -> Result<PathBuf, Error> {
    let project = stage.join("project");
    let files = assets::unpack(assets::WARM).map_err(Error::io("unpack into", &project))?;
    for (name, content) in files {
        let path = project.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        std::fs::write(&path, content).map_err(Error::io("write", &path))?;
    }
    cargo(stage, &project, toolchain).await?;

    let keep = stage.join("keep");
    let target = stage.join("target");
    let agent = keep.join(AGENT_LIBRARIES);
    take(&target.join(TARGET).join("release/deps"), &agent, "rlib")?;
    let compiler = keep.join(COMPILER_LIBRARIES);
    let dynamic = std::env::consts::DLL_EXTENSION;
    take(&target.join("release/deps"), &compiler, dynamic)?;
    let externs = externs(&agent)?;
    let index = keep.join(INDEX);
    let text = serde_json::to_vec(&externs).map_err(|error| Error::Warm(error.to_string()))?;
    std::fs::write(&index, text).map_err(Error::io("write", &index))?;
    sync(&index)?;
    Ok(keep)
}

async fn cargo(stage: &Path, project: &Path, toolchain: &Toolchain) -> Result<(), Error> {
    let libraries = LibraryBuild {
        cargo: &toolchain.cargo,
        rustc: &toolchain.rustc,
        project,
        home: &stage.join("cargo"),
        target: &stage.join("target"),
        variables: &[],
    };
    let mut command = Command::from(libraries.command());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| Error::Warm("cargo did not end in 15 minutes".to_owned()))?
        .map_err(Error::io("run", &toolchain.cargo))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let from = text.floor_char_boundary(text.len().saturating_sub(2000));
        return Err(Error::Warm(text[from..].trim().to_owned()));
    }
    Ok(())
}

/// Copies the files with this extension, durably.
fn take(from: &Path, to: &Path, extension: &str) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::io("list", from))? {
        let path = entry.map_err(Error::io("list", from))?.path();
        let (Some(name), true) = (
            path.file_name(),
            path.extension().is_some_and(|found| found == extension),
        ) else {
            continue;
        };
        let copy = to.join(name);
        std::fs::copy(&path, &copy).map_err(Error::io("write", &copy))?;
        sync(&copy)?;
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), Error> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("write", path))
}

/// Finds the library of each crate by its name.
fn externs(libraries: &Path) -> Result<BTreeMap<String, String>, Error> {
    let files: Vec<String> = std::fs::read_dir(libraries)
        .map_err(Error::io("list", libraries))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let library = |name: &&str| {
        let start = format!("lib{name}-");
        let mut found = files.iter().filter(|file| file.starts_with(&start));
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(((*name).to_owned(), file.clone())),
            _ => Err(Error::Warm(format!(
                "cargo made no library of {name}, or several"
            ))),
        }
    };
    CRATES.iter().map(library).collect()
}
