//! The files that the build script packed into the binary.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// The warm project: SDK, locked crates, and what ties them together.
pub(crate) const WARM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/warm.pack"));
/// The templates.
pub(crate) const TEMPLATES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/templates.pack"));

/// The templates' components, and what compiled them.
pub(crate) const PREBUILT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/prebuilt.pack"));

/// A packed file: its relative path and its content.
pub(crate) type File = (String, Vec<u8>);

/// Unpacks what `pack` of the build script wrote.
pub(crate) fn unpack(pack: &[u8]) -> std::io::Result<Vec<File>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(pack).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut files = Vec::new();
    while !rest.is_empty() {
        let path = take(&mut rest)?;
        let path = String::from_utf8(path.to_vec()).map_err(std::io::Error::other)?;
        files.push((path, take(&mut rest)?.to_vec()));
    }
    Ok(files)
}

fn take<'a>(rest: &mut &'a [u8]) -> std::io::Result<&'a [u8]> {
    let cut = || std::io::Error::other("the packed files are cut short");
    let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (value, tail) = tail.split_at_checked(length).ok_or_else(cut)?;
    *rest = tail;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_carries_the_sdk_and_its_crates() -> std::io::Result<()> {
        let files = unpack(WARM)?;
        let has = |path: &str| files.iter().any(|(name, _)| name == path);
        assert!(has("Cargo.lock") && has("sdk/src/lib.rs") && has("sdk/Cargo.toml"));
        assert!(
            files
                .iter()
                .any(|(name, _)| name.starts_with("vendor/serde-"))
        );
        Ok(())
    }
}
