//! Components with another manifest in them.

const SECTION: &[u8] = b"nexus:manifest";
const CUSTOM: u8 = 0;
/// In a component: a core module, and a nested component.
const NESTED: [u8; 2] = [1, 4];
const HEADER: usize = 8;

/// The same component with `manifest` in place of the one it has, wherever that is.
pub fn with_manifest(component: &[u8], manifest: &str) -> Vec<u8> {
    let mut bare = without_manifest(component);
    append(&mut bare, manifest);
    bare
}

/// The same component without a manifest.
pub fn without_manifest(component: &[u8]) -> Vec<u8> {
    rewrite(component, true)
}

/// Adds one more manifest at the top level.
pub fn append(component: &mut Vec<u8>, manifest: &str) {
    let mut body = Vec::new();
    leb128(SECTION.len(), &mut body);
    body.extend_from_slice(SECTION);
    body.extend_from_slice(manifest.as_bytes());
    component.push(CUSTOM);
    leb128(body.len(), component);
    component.extend_from_slice(&body);
}

fn rewrite(binary: &[u8], is_component: bool) -> Vec<u8> {
    let mut out = binary[..HEADER].to_vec();
    let mut at = HEADER;
    while at < binary.len() {
        let id = binary[at];
        let (size, start) = read_leb128(binary, at + 1);
        let body = &binary[start..start + size];
        at = start + size;
        let (name, name_at) = if id == CUSTOM {
            read_leb128(body, 0)
        } else {
            (0, 0)
        };
        if id == CUSTOM && body.get(name_at..name_at + name) == Some(SECTION) {
            continue;
        }
        let nested = (is_component && NESTED.contains(&id)).then(|| rewrite(body, id == NESTED[1]));
        let body = nested.as_deref().unwrap_or(body);
        out.push(id);
        leb128(body.len(), &mut out);
        out.extend_from_slice(body);
    }
    out
}

fn read_leb128(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (value, at);
        }
    }
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
