//! The kinds of permit: one marker per function that has an effect.
//!
//! A marker fixes the capability, the verbs and the least class, so that a permit for a read can never
//! be spent on a write. The set is closed: only this crate can add one.

use crate::{ActionKind, EffectClass};

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
    };
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
    /// Makes a component callable.
    Publish: Publish, "agents", ["publish"], Internal;
}
