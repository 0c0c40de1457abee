//! One cipher, one way to use it.

use std::hint::black_box;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize as _, Zeroizing};

const NONCE: usize = 24;
/// More than the frames of what handles a key take.
const STACK: usize = 16 * 1024;

/// A 256-bit key that is wiped when dropped.
///
/// It has a page of its own, so that moving the key moves a pointer and leaves no copy behind, and a
/// lock on the page, which keeps it out of the swap, is nobody else's.
pub(crate) struct Key {
    page: Box<Page>,
    /// Unlocks the page after it was wiped.
    lock: Option<region::LockGuard>,
}

#[repr(align(4096))]
struct Page([u8; 32]);

/// The bytes do not open under this key and these bindings. Which of the two is wrong can't be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unopened;

/// The operating system has no random numbers, or the text is too long for the cipher.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the system's random number generator failed: {0}")]
    Random(getrandom::Error),
    #[error("the text is too long to be sealed")]
    TooLong,
}

impl Key {
    /// A new key from the operating system's generator.
    pub(crate) fn generate() -> Result<Self, SealError> {
        let mut key = Self::zero();
        getrandom::fill(&mut key.page.0).map_err(SealError::Random)?;
        Ok(key)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self::zero();
        (bytes.len() == key.page.0.len()).then(|| key.page.0.copy_from_slice(bytes))?;
        Some(key)
    }

    /// A key that `fill` writes where it will stay.
    pub(crate) fn filled<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self::zero();
        wiping(|| fill(&mut key.page.0))?;
        Ok(key)
    }

    fn zero() -> Self {
        Self {
            page: Box::new(Page([0; 32])),
            lock: None,
        }
    }

    /// The same key, kept out of the swap as long as it lives. A system that does not let this process
    /// lock a page is no reason to stop: the log says so.
    pub(crate) fn locked(mut self) -> Self {
        if self.lock.is_none() {
            match region::lock(self.page.0.as_ptr(), size_of::<Page>()) {
                Ok(lock) => self.lock = Some(lock),
                Err(error) => {
                    tracing::warn!(%error, "a key of the vault can't be kept out of the swap; raise the limit of locked memory, or encrypt the swap");
                }
            }
        }
        self
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.page.0
    }

    /// Nonce and ciphertext. `bindings` are authenticated, not stored.
    pub(crate) fn seal(&self, bindings: &[&[u8]], text: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        // With 192 random bits, nonces never repeat in practice, whatever the number of texts.
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let aad = associated(bindings);
        let payload = Payload {
            msg: text,
            aad: &aad,
        };
        let sealed = wiping(|| self.cipher().encrypt(&XNonce::from(nonce), payload))
            .map_err(|_| SealError::TooLong)?;
        let mut out = Vec::with_capacity(NONCE + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// The text, if nothing was changed and `bindings` are those it was sealed with.
    pub(crate) fn open(
        &self,
        bindings: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Unopened)?;
        let aad = associated(bindings);
        let payload = Payload {
            msg: rest,
            aad: &aad,
        };
        wiping(|| self.cipher().decrypt(&XNonce::from(*nonce), payload))
            .map(Zeroizing::new)
            .map_err(|_| Unopened)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.page.0).into())
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        let mut key = Self::zero();
        key.page.0.copy_from_slice(&self.page.0);
        key
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.page.0.zeroize();
    }
}

/// Does what has a key in its hands, and wipes the stack that it has used: compilers spill keys and
/// what ciphers make of them.
pub(crate) fn wiping<T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn below<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    #[inline(never)]
    fn wipe() {
        let mut stack = [0_u8; STACK];
        black_box(stack.as_mut_slice()).zeroize();
    }
    let done = below(work);
    wipe();
    done
}

/// Every part with its length, so that no two lists of parts have the same encoding.
fn associated(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing step fails the test")]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_flipped_bit_is_found() {
        let key = Key::generate().unwrap();
        let sealed = key.seal(&[b"a", b"b"], b"hello").unwrap();
        assert_eq!(
            key.open(&[b"a", b"b"], &sealed).unwrap().as_slice(),
            b"hello"
        );
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(&[b"a", b"b"], &bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(key.open(&[b"a", b"b"], &sealed[..length]).is_err());
        }
    }

    #[test]
    fn bindings_can_not_be_shifted() {
        let key = Key::generate().unwrap();
        let sealed = key.seal(&[b"ab", b"c"], b"hello").unwrap();
        for other in [
            &[b"a".as_slice(), b"bc"][..],
            &[b"abc"],
            &[b"ab", b"c", b""],
            &[],
        ] {
            assert!(key.open(other, &sealed).is_err());
        }
        assert!(
            Key::generate()
                .unwrap()
                .open(&[b"ab", b"c"], &sealed)
                .is_err()
        );
    }

    #[test]
    fn t34_nonces_do_not_repeat() {
        let seals = match std::env::var_os("NEXUS_SOAK") {
            Some(value) if value != "0" && !value.is_empty() => 1_000_000,
            _ => 50_000,
        };
        let key = Key::generate().unwrap();
        let nonces: HashSet<Vec<u8>> = (0..seals)
            .map(|_| key.seal(&[], b"").unwrap()[..NONCE].to_vec())
            .collect();
        assert_eq!(nonces.len(), seals);
    }
}
