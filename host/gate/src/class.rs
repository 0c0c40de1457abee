//! Effect classes as the host sees them. Guests and manifests can raise a class; the one thing that
//! lowers it is a manifest's `reads`.

use nexus_manifest::{Method, Permission};

use crate::grants::http_target;
use crate::kind::Kind;
use crate::{Action, ActionKind, EffectClass};

/// The least class of an action of kind `K`, from what it will do and not from what it says.
pub fn class_of<K: Kind>(action: &Action) -> EffectClass {
    let observed = match K::ACTION {
        ActionKind::Effect if K::CAPABILITY == "http" => class_of_http(action),
        ActionKind::Effect => K::CLASS,
        ActionKind::Publish if permissions_are_free(&action.context.manifest.permissions) => {
            EffectClass::Internal
        }
        ActionKind::Publish | ActionKind::Grant => EffectClass::External,
        ActionKind::Reveal => EffectClass::Irreversible,
    };
    observed.max(K::CLASS)
}

/// Whether an agent with these permissions could do nothing that the shipped policy asks about:
/// no write leaves the host, no query passes for a read on the manifest's word, no secret is used.
pub fn permissions_are_free(permissions: &[Permission]) -> bool {
    permissions.iter().all(|permission| match permission {
        Permission::Http(http) => {
            http.reads.is_empty() && http.methods.iter().all(|method| method.is_read())
        }
        Permission::Secret(_) => false,
        Permission::Memory(_) | Permission::Peer(_) => true,
    })
}

/// An http request is a read if a permission that covers it says so of this very body; whatever
/// cannot be read as a request is not.
fn class_of_http(action: &Action) -> EffectClass {
    let body = action
        .payload
        .part("body")
        .map_or(&[][..], |part| &part.bytes);
    let read = http_target(&action.target).is_some_and(|(origin, target)| {
        let Ok(method) = action.verb.parse::<Method>() else {
            return false;
        };
        action
            .context
            .manifest
            .http(&origin)
            .any(|grant| grant.allows(method, &target) && grant.is_read(method, body))
    });
    if read {
        EffectClass::Read
    } else {
        EffectClass::External
    }
}
