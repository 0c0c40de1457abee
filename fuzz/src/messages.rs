//! Every request message of the contract: bytes are a message or none, and a message is the same after
//! another trip. What handlers make of them is tested against the real host, in
//! `tests/tests/bad_input`.

use std::fmt::Debug;

use nexus_proto::v1;
use prost::Message;

/// What is done with the bytes of one message.
pub type Check = fn(&[u8]);

/// The request messages, by name; the build script reads them from the contract.
pub const REQUESTS: &[(&str, Check)] = include!(concat!(env!("OUT_DIR"), "/requests.rs"));

/// The first byte chooses the message.
pub(crate) fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (_, check) = REQUESTS[usize::from(*first) % REQUESTS.len()];
    check(rest);
}

fn check<M: Message + Default + Debug>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    // Encodings, not messages, are compared: a number that is none does not equal itself.
    let encoded = message.encode_to_vec();
    let again = M::decode(encoded.as_slice()).unwrap();
    assert_eq!(again.encode_to_vec(), encoded, "{message:?}");
}
