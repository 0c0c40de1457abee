//! Effect classes as the host sees them. Manifests and policies can raise a class; the one thing that
//! lowers it is a manifest's `reads`.

use nexus_manifest::{AgentName, Class, Method, Permission};

use crate::grants::{http_target, space, tags};
use crate::kind::Kind;
use crate::{Action, ActionKind, EffectClass};

/// The least class of an action of kind `K`, from what it will do and not from what it says.
pub fn class_of<K: Kind>(action: &Action) -> EffectClass {
    let observed = match (K::ACTION, K::CAPABILITY) {
        (ActionKind::Effect, "http") => class_of_http(action),
        (ActionKind::Effect, _) if !raisable::<K>() => K::CLASS,
        (ActionKind::Effect, "memory") => raised(memory_class(action)),
        (ActionKind::Effect, "bus") => raised(peer_class(action)),
        (ActionKind::Effect, _) => K::CLASS,
        (ActionKind::Publish, _) if permissions_are_free(&action.context.manifest.permissions) => {
            EffectClass::Internal
        }
        (ActionKind::Publish | ActionKind::Grant, _) => EffectClass::External,
        (ActionKind::Reveal, _) => EffectClass::Irreversible,
    };
    observed.max(K::CLASS)
}

/// Whether an action of this kind can be of a stricter class than its kind says. What only looks at what
/// the host holds reaches no further, whoever says so.
pub(crate) fn raisable<K: Kind>() -> bool {
    K::CAPABILITY == "http" || K::CLASS > EffectClass::Read
}

/// Whether an agent with these permissions could do nothing that the shipped policy asks about:
/// no write leaves the host, no query passes for a read on the manifest's word, no secret is used, and
/// its author calls none of it grave.
pub fn permissions_are_free(permissions: &[Permission]) -> bool {
    let grave = |class: Option<Class>| raised(class) >= EffectClass::External;
    permissions.iter().all(|permission| match permission {
        Permission::Http(http) => {
            http.reads.is_empty()
                && http.methods.iter().all(|method| method.is_read())
                && !grave(http.class)
        }
        Permission::Secret(_) => false,
        Permission::Memory(memory) => !grave(memory.class),
        Permission::Peer(peer) => !grave(peer.class),
    })
}

fn raised(class: Option<Class>) -> EffectClass {
    match class {
        None => EffectClass::Read,
        Some(Class::Internal) => EffectClass::Internal,
        Some(Class::External) => EffectClass::External,
        Some(Class::Irreversible) => EffectClass::Irreversible,
    }
}

fn memory_class(action: &Action) -> Option<Class> {
    action.context.manifest.space(space(&action.target))?.class
}

fn peer_class(action: &Action) -> Option<Class> {
    let peer: AgentName = action.target.parse().ok()?;
    action.context.manifest.peer_class(&peer, &tags(action))
}

/// An http request is a read if a permission that covers it says so of this very body; whatever
/// cannot be read as a request is not. It reaches as far as the gravest of those permissions says.
fn class_of_http(action: &Action) -> EffectClass {
    let body = action
        .payload
        .part("body")
        .map_or(&[][..], |part| &part.bytes);
    let (Some((origin, target)), Ok(method)) =
        (http_target(&action.target), action.verb.parse::<Method>())
    else {
        return EffectClass::External;
    };
    let (mut class, mut least) = (EffectClass::External, EffectClass::Read);
    let grants = action.context.manifest.http(&origin);
    for grant in grants.filter(|grant| grant.allows(method, &target)) {
        if grant.is_read(method, body) {
            class = EffectClass::Read;
        }
        least = least.max(raised(grant.class));
    }
    class.max(least)
}
