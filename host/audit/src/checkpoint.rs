//! A signed statement of where the trail stood.

use nexus_store::{Position, now_ms};
use serde::{Deserialize, Serialize};

use crate::{SigningKey, VerifyingKey};

/// What a signature says of a position. Each has a format of its own: where the trail stood must never
/// pass for what was let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The trail stood there.
    Head,
    /// Everything up to there was let go of.
    Pruned,
}

impl Purpose {
    fn format(self) -> &'static [u8] {
        match self {
            Purpose::Head => b"nexus audit checkpoint 1\0",
            Purpose::Pruned => b"nexus audit pruned 1\0",
        }
    }
}

/// Says that the record with this sequence number had this hash, and so that everything up to it
/// was what it was. Keep one outside the host, and a trail cut or rewritten before it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last record covered; zero for a trail that was empty.
    pub sequence: u64,
    /// Its hash, which covers all before it.
    #[serde(with = "digits")]
    pub hash: [u8; 32],
    /// When it was signed, in milliseconds since 1970.
    pub time_ms: u64,
    /// Ed25519 over format, sequence, hash and time.
    #[serde(with = "digits")]
    pub signature: [u8; 64],
    /// Which key signed, as [`VerifyingKey::id`].
    pub key_id: String,
}

impl Checkpoint {
    pub(crate) fn sign(purpose: Purpose, head: Position, key: &SigningKey) -> Self {
        let time_ms = now_ms();
        Self {
            sequence: head.sequence,
            hash: head.hash,
            time_ms,
            signature: key.sign(&message(purpose, head.sequence, &head.hash, time_ms)),
            key_id: key.verifying_key().id(),
        }
    }

    /// Whether this key signed exactly this.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.is_signed_as(Purpose::Head, key)
    }

    pub(crate) fn is_signed_as(&self, purpose: Purpose, key: &VerifyingKey) -> bool {
        let message = message(purpose, self.sequence, &self.hash, self.time_ms);
        self.key_id == key.id() && key.verifies(&message, &self.signature)
    }
}

/// What is signed: all parts have a fixed length, numbers are big-endian.
fn message(purpose: Purpose, sequence: u64, hash: &[u8; 32], time_ms: u64) -> Vec<u8> {
    let mut message = purpose.format().to_vec();
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(hash);
    message.extend_from_slice(&time_ms.to_be_bytes());
    message
}

mod digits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}
