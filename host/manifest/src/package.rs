//! The manifest inside a component: one `.wasm` file is the whole package.

use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::digest::Digest;

/// The name of the custom section that holds `agent.toml`.
pub const SECTION: &str = "nexus:manifest";

/// Why no manifest can be read from, or put into, these bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a WebAssembly component.
    #[error(
        "this is not a WebAssembly component ({0}); build with `cargo build --release --target wasm32-wasip2`"
    )]
    NotAComponent(String),
    /// No `nexus:manifest` section.
    #[error(
        "the component holds no manifest; use `nexus_agent::export!`, or `nexus pack FILE.wasm --manifest agent.toml`"
    )]
    NoManifest,
    /// More than one `nexus:manifest` section.
    #[error(
        "the component holds {0} manifests; exactly one is allowed, so that what is reviewed is what runs"
    )]
    SeveralManifests(usize),
    /// The section is not text.
    #[error("the manifest in the component is not UTF-8 text")]
    NotText,
}

/// The text of the only manifest in a component, wherever it is nested.
pub fn read_manifest(component: &[u8]) -> Result<String, Error> {
    let mut found = Vec::new();
    for_each_payload(component, |payload, _| {
        if let Payload::CustomSection(section) = payload
            && section.name() == SECTION
        {
            found.push(section.data().to_vec());
        }
    })?;
    match found.len() {
        0 => Err(Error::NoManifest),
        1 => String::from_utf8(found.remove(0)).map_err(|_| Error::NotText),
        several => Err(Error::SeveralManifests(several)),
    }
}

/// Adds a manifest at the top level of a component that has none.
pub fn pack(component: &[u8], manifest: &str) -> Result<Vec<u8>, Error> {
    match read_manifest(component) {
        Err(Error::NoManifest) => {}
        Ok(_) => return Err(Error::SeveralManifests(2)),
        Err(error) => return Err(error),
    }
    let mut body = Vec::new();
    leb128(SECTION.len(), &mut body);
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(manifest.as_bytes());
    let mut packed = component.to_vec();
    packed.push(0);
    leb128(body.len(), &mut packed);
    packed.extend_from_slice(&body);
    Ok(packed)
}

/// The digest of what is compiled: the component without its custom sections, so that a changed
/// manifest does not cost a compilation.
pub fn code_digest(component: &[u8]) -> Result<Digest, Error> {
    let mut hash = Sha256::new();
    for_each_payload(component, |payload, depth| match payload {
        Payload::CustomSection(_) => {}
        Payload::Version { encoding, .. } => {
            hash.update([0xff, depth, u8::from(*encoding == Encoding::Component)]);
        }
        Payload::End(_) => hash.update([0xfe, depth]),
        other => {
            if let Some((id, range)) = other.as_section() {
                hash.update([id]);
                hash.update((range.len() as u64).to_be_bytes());
                // A nested module or component is walked on its own; its section's bytes include
                // the custom sections that must not count.
                if !matches!(
                    other,
                    Payload::ModuleSection { .. } | Payload::ComponentSection { .. }
                ) {
                    // The last section of a file that was cut ends beyond it; reading on says so.
                    hash.update(component.get(range).unwrap_or_default());
                }
            }
        }
    })?;
    Ok(Digest::from_bytes(hash.finalize().into()))
}

fn for_each_payload(
    component: &[u8],
    mut visit: impl FnMut(&Payload<'_>, u8),
) -> Result<(), Error> {
    let malformed = |error: wasmparser::BinaryReaderError| Error::NotAComponent(error.to_string());
    if !Parser::is_component(component) {
        return Err(Error::NotAComponent("its header is another".to_owned()));
    }
    let mut depth = 0u8;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(malformed)?;
        visit(&payload, depth);
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth = depth
                    .checked_add(1)
                    .ok_or_else(|| Error::NotAComponent("it is nested too deeply".to_owned()))?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn leb128(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_packed_manifest_reads_back() {
        let manifest = "format = 1\n".repeat(100);
        let packed = pack(EMPTY, &manifest).expect("packed");
        assert_eq!(read_manifest(&packed), Ok(manifest.clone()));
        assert_eq!(pack(&packed, &manifest), Err(Error::SeveralManifests(2)));
    }

    #[test]
    fn none_and_several_are_refused() {
        assert_eq!(read_manifest(EMPTY), Err(Error::NoManifest));
        let once = pack(EMPTY, "a").expect("packed");
        let twice = [&once[..], &once[EMPTY.len()..]].concat();
        assert_eq!(read_manifest(&twice), Err(Error::SeveralManifests(2)));
        assert!(matches!(
            read_manifest(b"hello"),
            Err(Error::NotAComponent(_))
        ));
        assert!(matches!(
            read_manifest(b"\0asm\x01\0\0\0"),
            Err(Error::NotAComponent(_))
        ));
        assert!(matches!(
            read_manifest(&once[..once.len() - 1]),
            Err(Error::NotAComponent(_))
        ));
    }

    #[test]
    fn custom_sections_do_not_change_the_code() {
        let packed = pack(EMPTY, "a").expect("packed");
        assert_eq!(code_digest(&packed), code_digest(EMPTY));
        // A type section is code.
        let typed = [EMPTY, &[7, 1, 0]].concat();
        assert_ne!(code_digest(&typed), code_digest(EMPTY));
    }
}
