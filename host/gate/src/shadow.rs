//! What a component may do while it is only tried, with nobody having accepted yet what it asks for.

use nexus_manifest::Method;

use crate::{Action, ActionKind, EffectClass};

/// Refuses whatever is more than a look, and whatever is one only by the word of a manifest that
/// nobody has accepted: a body that passes for a query, a secret that goes along.
pub(crate) fn check(action: &Action) -> Result<(), String> {
    if action.kind != ActionKind::Effect || action.class > EffectClass::Read {
        return Err("a shadow run has no effects".to_owned());
    }
    let looks = match action.capability {
        "memory" | "bus" => true,
        "http" => {
            let method = action.verb.parse::<Method>();
            method.is_ok_and(|method| method.is_read())
                && action.payload.fields.get("secrets").is_none()
        }
        _ => false,
    };
    match looks {
        true => Ok(()),
        false => Err(format!(
            "a shadow run takes no {} {} for a read before a person has",
            action.capability, action.verb
        )),
    }
}
