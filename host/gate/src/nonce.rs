//! What makes each question unguessable.

use std::fmt;

/// 128 random bits, made with each question and part of the digest that a decision names. Kept sealed
/// with the question and in the host's memory; nothing shows it, neither to agents nor to people, so
/// that a digest can only be learnt by reading the question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A fresh one; the error is the operating system's.
    pub(crate) fn new() -> Result<Self, String> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| format!("the system gave no random bytes: {error}"))?;
        Ok(Self(bytes))
    }

    /// The nonce with these bits, for comparing encodings.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// 32 hexadecimal digits.
    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}
