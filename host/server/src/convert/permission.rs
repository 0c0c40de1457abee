//! Permissions.

use nexus_manifest::{Access, Class, Manifest, Origin, Peer, Permission, PermissionDiff};
use nexus_proto::v1;

/// What a manifest asks for, as data and as a line for people.
pub(crate) fn permissions(manifest: &Manifest) -> Vec<v1::Permission> {
    manifest.permissions.iter().map(permission).collect()
}

/// How permissions differ from those of the generation `from`, and whether that takes a person.
pub(crate) fn permission_diff(
    diff: &PermissionDiff,
    from: Option<u64>,
    widens: bool,
) -> v1::PermissionDiff {
    let all = |all: &[Permission]| all.iter().map(permission).collect();
    v1::PermissionDiff {
        added: all(&diff.added),
        removed: all(&diff.removed),
        changed: diff
            .changed
            .iter()
            .map(|(before, after)| v1::PermissionChange {
                before: Some(permission(before)),
                after: Some(permission(after)),
            })
            .collect(),
        widens,
        from_generation: from.unwrap_or_default(),
    }
}

fn permission(permission: &Permission) -> v1::Permission {
    use v1::permission::Permission as Wire;
    let origins = |all: &[Origin]| all.iter().map(ToString::to_string).collect();
    let wire = match permission {
        Permission::Http(http) => Wire::Http(v1::HttpPermission {
            origin: http.origin.to_string(),
            methods: http.methods.iter().map(ToString::to_string).collect(),
            paths: http.paths.clone(),
            reads: http
                .reads
                .iter()
                .map(|rule| v1::ReadRule {
                    pointer: rule.pointer.clone(),
                    values: rule.values.clone(),
                })
                .collect(),
            at_least: at_least(http.class),
        }),
        Permission::Secret(secret) => Wire::Secret(v1::SecretPermission {
            secret: format!("secrets/{}", secret.name),
            audience: origins(&secret.audience),
            reveal: secret.reveal,
        }),
        Permission::Memory(memory) => Wire::Memory(v1::MemoryPermission {
            space: format!("spaces/{}", memory.space),
            access: match memory.access {
                Access::Read => v1::Access::Read,
                Access::ReadWrite => v1::Access::ReadWrite,
            }
            .into(),
            private: memory.private,
            at_least: at_least(memory.class),
        }),
        Permission::Peer(peer) => Wire::Peer(v1::PeerPermission {
            peer: Some(match &peer.peer {
                Peer::Agent(name) => v1::peer_permission::Peer::Agent(format!("agents/{name}")),
                Peer::Tag(tag) => v1::peer_permission::Peer::Tag(tag.to_string()),
            }),
            at_least: at_least(peer.class),
        }),
    };
    v1::Permission {
        display: permission.to_string(),
        permission: Some(wire),
    }
}

fn at_least(class: Option<Class>) -> i32 {
    let class = match class {
        None => v1::EffectClass::Unspecified,
        Some(Class::Internal) => v1::EffectClass::Internal,
        Some(Class::External) => v1::EffectClass::External,
        Some(Class::Irreversible) => v1::EffectClass::Irreversible,
    };
    class.into()
}
