//! `nexus pack`: works on files, without a host.

use std::fs;

use anyhow::Context as _;
use nexus_manifest::{Manifest, package};

use super::{args::Pack, exit::Exit, output::Output};

pub(crate) fn run(arguments: &Pack, output: &Output) -> anyhow::Result<Exit> {
    let read = |path: &std::path::Path| {
        fs::read(path).with_context(|| format!("failed to read {}", path.display()))
    };
    let component = read(&arguments.file)?;
    let text = String::from_utf8(read(&arguments.manifest)?)
        .with_context(|| format!("{} is not UTF-8 text", arguments.manifest.display()))?;
    let manifest = Manifest::parse(&text)
        .with_context(|| format!("{} is not a manifest", arguments.manifest.display()))?;
    let packed = package::pack(&component, &text)
        .with_context(|| format!("failed to pack {}", arguments.file.display()))?;
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
    output.note(&format!(
        "{} holds the manifest of {}",
        out.display(),
        manifest.name
    ));
    Ok(Exit::Success)
}
