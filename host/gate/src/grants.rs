//! The first key: what the manifest, which a person reviewed, lets the agent ask for.

use nexus_manifest::{Access, AgentName, Method, Origin, Tag, Target};

use crate::kind::Kind;
use crate::{Action, ActionKind, EffectClass};

/// Whether the manifest covers the action; the error says what it lacks.
pub(crate) fn check<K: Kind>(action: &Action) -> Result<(), String> {
    match (K::ACTION, K::CAPABILITY) {
        // Publication and grants are asked about as a whole, not covered one by one.
        (ActionKind::Publish | ActionKind::Grant, _) => Ok(()),
        (_, "http") => http(action),
        (_, "memory") => memory(action, K::CLASS),
        // What is listed is filtered to the peers that the manifest names.
        (_, "bus") if K::CLASS == EffectClass::Read && action.target == "*" => Ok(()),
        (_, "bus") => bus(action),
        (ActionKind::Reveal, _) => reveal(action),
        (_, "vault") => vault(action),
        (_, other) => Err(format!(
            "no manifest permission covers the capability {other}"
        )),
    }
}

/// Splits an http action's target into origin and path, if it is written in canonical form.
pub(crate) fn http_target(text: &str) -> Option<(Origin, Target)> {
    let authority = text.find("://")? + 3;
    let path = authority + text[authority..].find('/')?;
    let origin: Origin = text[..path].parse().ok()?;
    let target: Target = text[path..].parse().ok()?;
    // Only the canonical spelling: what a person reads is what policy and grants matched.
    (format!("{origin}{target}") == text).then_some((origin, target))
}

/// The space of a memory action.
pub(crate) fn space(target: &str) -> &str {
    target.split_once('/').map_or(target, |(space, _)| space)
}

fn http(action: &Action) -> Result<(), String> {
    let (origin, target) = http_target(&action.target)
        .ok_or_else(|| format!("{:?} is not a canonical http target", action.target))?;
    let method: Method = action
        .verb
        .parse()
        .map_err(|_| format!("{:?} is not an http method", action.verb))?;
    let mut grants = action.context.manifest.http(&origin).peekable();
    if grants.peek().is_none() {
        return Err(format!("the manifest has no http permission for {origin}"));
    }
    if grants.any(|grant| grant.allows(method, &target)) {
        Ok(())
    } else {
        Err(format!(
            "the manifest's http permission for {origin} does not cover {} {}",
            action.verb,
            target.path()
        ))
    }
}

fn memory(action: &Action, class: EffectClass) -> Result<(), String> {
    let space = space(&action.target);
    match action.context.manifest.memory(space) {
        None => Err(format!(
            "the manifest has no memory permission for the space {space:?}"
        )),
        Some(Access::Read) if class > EffectClass::Read => Err(format!(
            "the manifest's memory permission for the space {space:?} is for reading"
        )),
        Some(_) => Ok(()),
    }
}

fn bus(action: &Action) -> Result<(), String> {
    let peer: AgentName = action
        .target
        .parse()
        .map_err(|_| format!("{:?} is not an agent's name", action.target))?;
    if action.context.manifest.peer(&peer, &tags(action)) {
        Ok(())
    } else {
        Err(format!(
            "the manifest has no peer permission for {peer} or one of its tags"
        ))
    }
}

/// The tags of the peer that a call goes to.
pub(crate) fn tags(action: &Action) -> Vec<Tag> {
    let tags = action.payload.fields["tags"].as_array();
    tags.into_iter()
        .flatten()
        .filter_map(|tag| tag.as_str()?.parse().ok())
        .collect()
}

fn vault(action: &Action) -> Result<(), String> {
    if action.context.manifest.secret(&action.target).is_some() {
        Ok(())
    } else {
        Err(format!(
            "the manifest has no secret permission for {:?}",
            action.target
        ))
    }
}

fn reveal(action: &Action) -> Result<(), String> {
    vault(action)?;
    match action.context.manifest.secret(&action.target) {
        Some(permission) if permission.reveal => Ok(()),
        _ => Err(format!(
            "the manifest's permission for the secret {:?} is to have it used, without `reveal = true`",
            action.target
        )),
    }
}
