//! Packs what the binary needs to forge with nothing beside it: the SDK's
//! sources with the locked crates they need, and the templates, as text and as
//! components.

#[path = "src/build/flags.rs"]
mod flags;
#[path = "src/toolchain/libraries.rs"]
mod libraries;
#[path = "build/prebuilt.rs"]
mod prebuilt;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use toml::{Table, Value};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = here.join("../..");
    for watched in [
        "build.rs",
        "build",
        "src/build/flags.rs",
        "src/toolchain/libraries.rs",
        "warm/Cargo.toml",
        "warm/Cargo.lock",
        "warm/src",
        "../../guest-sdk/Cargo.toml",
        "../../guest-sdk/API.md",
        "../../guest-sdk/src",
        "../../templates",
        "../../Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={watched}");
    }

    let warm = out.join("warm");
    if warm.exists() {
        fs::remove_dir_all(&warm)?;
    }
    lay_out_warm(&here.join("warm"), &root, &warm)?;
    vendor(&warm)?;
    fs::write(out.join("warm.pack"), pack(&warm, |_| true)?)?;
    let forged = |path: &Path| {
        // A template's other files are for people.
        ["template.toml", "agent.toml", "src/lib.rs"]
            .iter()
            .any(|name| path.ends_with(name))
    };
    let templates = root.join("templates");
    fs::write(out.join("templates.pack"), pack(&templates, forged)?)?;
    let components = prebuilt::build(&warm, &templates, &out)?;
    fs::write(out.join("prebuilt.pack"), pack(&components, |_| true)?)?;
    Ok(())
}

fn variable(name: &str) -> Result<OsString> {
    std::env::var_os(name).ok_or_else(|| format!("cargo did not set {name}").into())
}

/// Copies the warm project and the SDK into one directory that needs nothing
/// around it.
fn lay_out_warm(project: &Path, root: &Path, to: &Path) -> Result {
    let sdk = root.join("guest-sdk");
    fs::create_dir_all(to.join("src"))?;
    fs::create_dir_all(to.join("sdk"))?;
    copy(&project.join("src"), &to.join("src"))?;
    copy(&sdk.join("src"), &to.join("sdk/src"))?;
    fs::copy(project.join("Cargo.lock"), to.join("Cargo.lock"))?;
    // The SDK's crate documentation.
    fs::copy(sdk.join("API.md"), to.join("sdk/API.md"))?;

    let mut manifest = table(&project.join("Cargo.toml"))?;
    let dependency = manifest["dependencies"]["nexus-agent"]
        .as_table_mut()
        .ok_or("warm/Cargo.toml: nexus-agent is not a path dependency")?;
    dependency.insert("path".to_owned(), "sdk".into());
    fs::write(to.join("Cargo.toml"), toml::to_string(&manifest)?)?;

    let sdk = standalone(
        table(&sdk.join("Cargo.toml"))?,
        &table(&root.join("Cargo.toml"))?,
    )?;
    fs::write(to.join("sdk/Cargo.toml"), toml::to_string(&sdk)?)?;
    Ok(())
}

/// A crate's manifest with all it inherits from the workspace written out, and
/// without what only its own tests and lints need.
fn standalone(mut manifest: Table, workspace: &Table) -> Result<Table> {
    manifest.remove("dev-dependencies");
    manifest.remove("lints");
    let inherited = &workspace["workspace"];
    for (section, source) in [("package", "package"), ("dependencies", "dependencies")] {
        let values = manifest[section]
            .as_table_mut()
            .ok_or_else(|| format!("{section} is not a table"))?;
        for (key, value) in values.iter_mut() {
            let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
            if inherits {
                *value = inherited[source]
                    .get(key)
                    .ok_or_else(|| format!("the workspace has no {section}.{key}"))?
                    .clone();
            }
        }
    }
    Ok(manifest)
}

fn table(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.parse()?)
}

/// Puts exactly the locked crates into `vendor/`, from cargo's cache if they are
/// there, else from the registry.
fn vendor(project: &Path) -> Result {
    let cargo = variable("CARGO")?;
    let mut last = String::new();
    for offline in [true, false] {
        let mut command = Command::new(&cargo);
        command
            .args([
                "vendor",
                "--locked",
                "--versioned-dirs",
                "--respect-source-config",
            ])
            .arg("--manifest-path")
            .arg(project.join("Cargo.toml"))
            .arg(project.join("vendor"))
            .current_dir(project);
        if offline {
            command.arg("--offline");
        }
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        last = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    Err(format!("`cargo vendor` of the forge's dependencies failed: {last}").into())
}

/// All files below `directory`, sorted, as one compressed sequence of
/// (path length, path, content length, content), lengths as u32 little-endian.
fn pack(directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    if directory.exists() {
        collect(directory, &mut files)?;
    }
    files.retain(|file| wanted(file));
    files.sort();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for file in files {
        let name = file.strip_prefix(directory)?;
        let name = name.to_str().ok_or("a file name is not Unicode")?;
        let content = fs::read(&file)?;
        encoder.write_all(&u32::try_from(name.len())?.to_le_bytes())?;
        encoder.write_all(name.as_bytes())?;
        encoder.write_all(&u32::try_from(content.len())?.to_le_bytes())?;
        encoder.write_all(&content)?;
    }
    Ok(encoder.finish()?)
}

/// What people leave in a project they tried is not part of a template.
const LEFT_OUT: &[&str] = &["target", ".git"];

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                collect(&entry.path(), files)?;
            }
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result {
    let mut files = Vec::new();
    collect(from, &mut files)?;
    for file in files {
        let target = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(target.parent().ok_or("a file without a directory")?)?;
        fs::copy(&file, target)?;
    }
    Ok(())
}
