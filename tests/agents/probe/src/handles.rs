//! The handles that the steps of one invocation share, by the names that the test gave them.

use std::collections::BTreeMap;

use nexus_agent::bindings::nexus::agent::{bus, http, memory, vault};
use nexus_agent::{Failure, fail};

/// An open handle of any interface.
pub(crate) enum Handle {
    Origin(http::Origin),
    Request(http::Request),
    Response(http::Pending),
    Secret(vault::Secret),
    Space(memory::Space),
    Peer(bus::Peer),
    Reply(bus::Pending),
}

#[derive(Default)]
pub(crate) struct Handles(BTreeMap<String, Handle>);

/// Borrows or takes the handle of one kind.
macro_rules! kinds {
    ($($get:ident $take:ident $kind:ident $type:ty;)*) => {$(
        #[allow(dead_code, reason = "not every kind is both borrowed and taken")]
        pub(crate) fn $get(&self, name: &str) -> Result<&$type, Failure> {
            match self.0.get(name) {
                Some(Handle::$kind(handle)) => Ok(handle),
                _ => fail!("bad-step", concat!("{} is no ", stringify!($kind)), name),
            }
        }

        #[allow(dead_code, reason = "not every kind is both borrowed and taken")]
        pub(crate) fn $take(&mut self, name: &str) -> Result<$type, Failure> {
            match self.0.remove(name) {
                Some(Handle::$kind(handle)) => Ok(handle),
                _ => fail!("bad-step", concat!("{} is no ", stringify!($kind)), name),
            }
        }
    )*};
}

impl Handles {
    pub(crate) fn put(&mut self, name: &str, handle: Handle) {
        self.0.insert(name.to_owned(), handle);
    }

    pub(crate) fn drop(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    kinds! {
        origin take_origin Origin http::Origin;
        request take_request Request http::Request;
        response take_response Response http::Pending;
        secret take_secret Secret vault::Secret;
        space take_space Space memory::Space;
        peer take_peer Peer bus::Peer;
        reply take_reply Reply bus::Pending;
    }
}
