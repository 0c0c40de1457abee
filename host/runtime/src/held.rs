//! What the host holds for an invocation beside the guest's own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::invocation::Invocation;
use crate::limits::Limit;
use crate::state::exhausted;

/// Requests of one invocation that are searched or exchanged at a time. What waits for a person is
/// not among them.
const IN_FLIGHT: usize = 8;

/// The bytes that one invocation has the host hold, and its places to work beside the guest.
#[derive(Debug)]
pub(crate) struct Holdings {
    bytes: AtomicUsize,
    limit: usize,
    places: Semaphore,
}

impl Holdings {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit,
            places: Semaphore::new(IN_FLIGHT),
        }
    }

    fn take(&self, more: usize) -> bool {
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(more).filter(|held| *held <= self.limit)
            });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that are counted as held for an invocation, until this is dropped.
#[derive(Debug)]
pub struct Held {
    invocation: Arc<Invocation>,
    bytes: usize,
}

impl Held {
    pub(crate) fn new(invocation: Arc<Invocation>, bytes: usize) -> wasmtime::Result<Self> {
        let mut held = Self {
            invocation,
            bytes: 0,
        };
        held.resize(bytes)?;
        Ok(held)
    }

    /// Counts so many from now on. With more than the invocation may have held, the count stays, and
    /// the error ends the guest as exhausted: whoever gets it lets go of what is too much.
    pub fn resize(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match bytes.checked_sub(self.bytes) {
            Some(more) if !self.invocation.holdings.take(more) => {
                return Err(exhausted(Limit::HeldBytes));
            }
            Some(_) => {}
            None => self.invocation.holdings.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Does work of the invocation as soon as few enough others do.
    pub async fn in_turn<T>(&self, work: impl Future<Output = T>) -> T {
        // Never closed; if it were, the work would still have to be done.
        let _place = self.invocation.holdings.places.acquire().await;
        work.await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.invocation.holdings.give_back(self.bytes);
    }
}
