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

/// The component without the manifests in it, however deep they lie. Nothing else of it changes.
pub fn strip(component: &[u8]) -> Result<Vec<u8>, Error> {
    // What is walked here is whole: sizes and names are where they are looked for.
    for_each_payload(component, |_, _| {})?;
    without_manifests(component)
        .ok_or_else(|| Error::NotAComponent("a section ends beyond the file".to_owned()))
}

/// The sections of a module or component but for its manifests.
fn without_manifests(binary: &[u8]) -> Option<Vec<u8>> {
    const CUSTOM: u8 = 0;
    const MODULE: u8 = 1;
    const COMPONENT: u8 = 4;
    let (header, mut rest) = binary.split_at_checked(8)?;
    let is_component = Parser::is_component(header);
    let mut kept = header.to_vec();
    while let Some((&id, tail)) = rest.split_first() {
        let (size, tail) = read_leb128(tail)?;
        let (content, tail) = tail.split_at_checked(size)?;
        let whole = rest.get(..rest.len() - tail.len())?;
        rest = tail;
        if id == CUSTOM && is_manifest(content) {
            continue;
        }
        if is_component && (id == MODULE || id == COMPONENT) {
            let inner = without_manifests(content)?;
            if inner.len() < content.len() {
                kept.push(id);
                leb128(inner.len(), &mut kept);
                kept.extend_from_slice(&inner);
                continue;
            }
        }
        kept.extend_from_slice(whole);
    }
    Some(kept)
}

fn is_manifest(custom: &[u8]) -> bool {
    read_leb128(custom)
        .and_then(|(length, rest)| rest.get(..length))
        .is_some_and(|name| name == SECTION.as_bytes())
}

/// A size, and what follows it.
fn read_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u32;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value as usize, bytes.get(place + 1..)?));
        }
    }
    None
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
    fn a_stripped_component_is_what_it_was_before_it_was_packed() {
        let packed = pack(EMPTY, &"format = 1\n".repeat(100)).expect("packed");
        assert_eq!(strip(&packed).as_deref(), Ok(EMPTY));
        // A core module within, with a manifest and another custom section in it.
        let section = &packed[EMPTY.len()..];
        let other = [0, 3, 1, b'x', b'y'];
        let module = [b"\0asm\x01\0\0\0", section, &other].concat();
        let mut nested = EMPTY.to_vec();
        nested.push(1);
        leb128(module.len(), &mut nested);
        nested.extend_from_slice(&module);
        assert!(read_manifest(&nested).is_ok());
        let stripped = strip(&nested).expect("stripped");
        assert_eq!(read_manifest(&stripped), Err(Error::NoManifest));
        let left = [EMPTY, &[1, 13], b"\0asm\x01\0\0\0", &other].concat();
        assert_eq!(stripped, left);
        assert!(matches!(
            strip(&nested[..nested.len() - 1]),
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
