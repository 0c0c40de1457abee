//! `nexus pack`: works on files, without a host.

use std::fs;

use anyhow::Context as _;
use nexus_manifest::{Manifest, package};
use serde_json::json;

use super::{args::Pack, exit::Exit, output::Output, text::line};

pub(crate) fn run(arguments: &Pack, output: &Output) -> anyhow::Result<Exit> {
    let read = |path: &std::path::Path| {
        fs::read(path).with_context(|| format!("failed to read {}", path.display()))
    };
    let component = read(&arguments.file)?;
    let packed = match &arguments.manifest {
        None => component,
        Some(file) => {
            let text = String::from_utf8(read(file)?)
                .with_context(|| format!("{} is not UTF-8 text", file.display()))?;
            Manifest::parse(&text)
                .with_context(|| format!("{} is not a manifest", file.display()))?;
            package::pack(&component, &text)
                .with_context(|| format!("failed to pack {}", arguments.file.display()))?
        }
    };
    if arguments.check {
        let manifest = nexus_runtime::check(&packed)
            .with_context(|| format!("a host would refuse {}", arguments.file.display()))?;
        let permissions: Vec<String> = manifest
            .permissions
            .iter()
            .map(ToString::to_string)
            .collect();
        if output.is_json() {
            let name = manifest.name.as_str();
            output.json(&json!({ "name": name, "permissions": permissions }))?;
        } else {
            let mut text = format!("{} is an agent and may do\n", manifest.name);
            for permission in &permissions {
                text.push_str(&format!("  {}\n", line(permission)));
            }
            if permissions.is_empty() {
                text.push_str("  nothing but answer\n");
            }
            output.text(&text)?;
        }
        return Ok(Exit::Success);
    }
    let name = package::read_manifest(&packed)
        .ok()
        .and_then(|text| Manifest::parse(&text).ok())
        .map(|manifest| manifest.name.to_string())
        .unwrap_or_default();
    let out = arguments.out.as_ref().unwrap_or(&arguments.file);
    // Written beside and renamed, so that a full disk cannot leave half a component.
    let directory = out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(std::path::Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(directory)?;
        std::io::Write::write_all(&mut file, &packed)?;
        file.persist(out).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("failed to write {}", out.display()))?;
    output.note(&format!("{} holds the manifest of {name}", out.display()));
    Ok(Exit::Success)
}
