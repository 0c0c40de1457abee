//! Manifests, as text and inside of components.

use nexus_manifest::{Manifest, Permission, package};

/// The smallest component there is.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

pub(crate) fn run(data: &[u8]) {
    // Any bytes as a component.
    let read = package::read_manifest(data);
    let digest = package::code_digest(data);
    if read.is_ok() {
        assert!(digest.is_ok(), "a manifest in what has no digest");
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // What is packed is what is read, and makes no other code of it.
    let packed = package::pack(COMPONENT, text).unwrap();
    assert_eq!(package::read_manifest(&packed).as_deref(), Ok(text));
    assert_eq!(
        package::code_digest(&packed),
        package::code_digest(COMPONENT)
    );
    let Ok(manifest) = Manifest::parse(text) else {
        return;
    };
    check(&manifest);
    let again = Manifest::parse(text).unwrap();
    assert_eq!(manifest.permissions_digest(), again.permissions_digest());
}

fn check(manifest: &Manifest) {
    let name = manifest.name.as_str();
    assert!(
        (2..=63).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_lowercase()),
        "{name:?}"
    );
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
        "{name:?}"
    );
    for permission in &manifest.permissions {
        match permission {
            Permission::Http(http) => {
                assert!(!http.methods.is_empty() && !http.paths.is_empty());
                assert!(manifest.http(&http.origin).next().is_some());
                for path in &http.paths {
                    assert!(path.starts_with('/') && !path.contains(".."), "{path:?}");
                    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
                }
            }
            Permission::Secret(secret) => {
                assert!(!secret.audience.is_empty());
                assert!(
                    secret.audience.iter().all(nexus_manifest::Origin::is_https),
                    "{permission}"
                );
            }
            Permission::Memory(memory) => assert!(manifest.memory(memory.space.as_str()).is_some()),
            Permission::Peer(_) => {}
        }
        // A line for people stays one.
        assert!(
            !permission.to_string().contains(char::is_control),
            "{permission:?}"
        );
    }
}
