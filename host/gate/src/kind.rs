//! The kinds of permit: one marker per function that has an effect.
//!
//! A marker fixes the capability, the verbs and the least class, so that a permit for a read can never
//! be spent on a write. The set is closed: only this crate can add one.

use crate::{Action, ActionKind, EffectClass, class, grants};

mod sealed {
    pub trait Sealed {}
}

/// A kind of permit.
pub trait Kind: sealed::Sealed + Send + Sync + 'static {
    /// The capability that actions of this kind name.
    const CAPABILITY: &'static str;
    /// The verbs they may have.
    const VERBS: &'static [&'static str];
    /// The kind of action.
    const ACTION: ActionKind;
    /// The least class of such an action, before the gate looks at what it carries.
    const CLASS: EffectClass;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $action:ident, $capability:literal, $verbs:expr, $class:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $name {}
            impl sealed::Sealed for $name {}
            impl Kind for $name {
                const CAPABILITY: &'static str = $capability;
                const VERBS: &'static [&'static str] = &$verbs;
                const ACTION: ActionKind = ActionKind::$action;
                const CLASS: EffectClass = EffectClass::$class;
            }
        )*

        /// Every kind, for what is known by its words only.
        const ALL: &[Known] = &[$(Known {
            action: <$name as Kind>::ACTION,
            capability: <$name as Kind>::CAPABILITY,
            verbs: <$name as Kind>::VERBS,
            class_of: class::class_of::<$name>,
            raisable: class::raisable::<$name>,
            covered: grants::check::<$name>,
        },)*];
    };
}

/// A kind as a value.
pub(crate) struct Known {
    action: ActionKind,
    pub(crate) capability: &'static str,
    verbs: &'static [&'static str],
    /// The least class of an action of this kind.
    pub(crate) class_of: fn(&Action) -> EffectClass,
    /// Whether it can be of a stricter class.
    pub(crate) raisable: fn() -> bool,
    /// Whether the manifest covers an action of this kind.
    pub(crate) covered: fn(&Action) -> Result<(), String>,
}

/// The kind of this action, if there is one.
pub(crate) fn find(action: ActionKind, capability: &str, verb: &str) -> Option<&'static Known> {
    ALL.iter().find(|kind| {
        kind.action == action && kind.capability == capability && kind.verbs.contains(&verb)
    })
}

kinds! {
    /// Sends one HTTP request. A read if the manifest says that this request is one.
    Http: Effect, "http", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"], Read;
    /// Reads a memory space.
    MemoryRead: Effect, "memory", ["get", "scan"], Read;
    /// Writes a memory space.
    MemoryWrite: Effect, "memory", ["put", "put-if", "delete"], Internal;
    /// Calls a peer, which acts with its own rights.
    BusCall: Effect, "bus", ["call"], Internal;
    /// Lists the peers that may be called, or finds one.
    BusList: Effect, "bus", ["peers", "find", "card"], Read;
    /// Takes a handle to a secret, which is the right to have it used.
    SecretOpen: Effect, "vault", ["open"], Read;
    /// Gives an agent the text of a secret.
    SecretReveal: Reveal, "vault", ["reveal"], Irreversible;
    /// Makes a component callable.
    Publish: Publish, "agents", ["publish"], Internal;
}
