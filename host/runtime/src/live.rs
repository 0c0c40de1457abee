//! The invocations in memory: those that run and the last that ended.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_gate::InvocationId;
use tokio::sync::Notify;

use crate::invocation::Invocation;
use crate::padded::Padded;

const SHARDS: usize = 16;
/// Ended invocations kept in each shard: a thousand on a machine of two cores.
const KEPT: usize = 512;
/// Bytes of outcomes kept in each shard.
const KEPT_BYTES: usize = 4 << 20;

/// Sharded by the thread on which an invocation began, since every invocation
/// touches it twice: workers share neither lock nor memory then.
pub(crate) struct Live {
    shards: [Padded<Mutex<Shard>>; SHARDS],
    running: Padded<AtomicUsize>,
    idle: Notify,
}

/// The shard that an invocation is kept in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home(usize);

impl Home {
    /// That of the current thread.
    pub(crate) fn here() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static HERE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        Self(HERE.with(|here| *here))
    }

    /// Which of `count` things is this one's.
    pub(crate) fn of(self, count: usize) -> usize {
        self.0 % count.max(1)
    }
}

#[derive(Default)]
struct Shard {
    all: HashMap<InvocationId, Arc<Invocation>>,
    /// Those that have ended, oldest first, with their weight.
    ended: VecDeque<(InvocationId, usize)>,
    weight: usize,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            shards: Default::default(),
            running: Padded(AtomicUsize::new(0)),
            idle: Notify::new(),
        }
    }

    /// Counts one more running invocation, unless there are `limit` already.
    pub(crate) fn admit(&self, limit: usize) -> bool {
        if self.running.fetch_add(1, Ordering::AcqRel) >= limit {
            self.leave();
            return false;
        }
        true
    }

    /// Takes back [`admit`](Self::admit).
    pub(crate) fn leave(&self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Returns when nothing runs.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn insert(&self, invocation: Arc<Invocation>) {
        let id = invocation.facts.id;
        self.shard(invocation.home).all.insert(id, invocation);
    }

    /// Moves an invocation to the ended ones, and lets go of the oldest.
    pub(crate) fn ended(&self, invocation: &Invocation, weight: usize) {
        let mut shard = self.shard(invocation.home);
        shard.ended.push_back((invocation.facts.id, weight));
        shard.weight += weight;
        while shard.ended.len() > KEPT || shard.weight > KEPT_BYTES {
            let Some((oldest, weight)) = shard.ended.pop_front() else {
                break;
            };
            shard.weight -= weight;
            shard.all.remove(&oldest);
        }
    }

    /// Forgets an invocation that never began.
    pub(crate) fn forget(&self, invocation: &Invocation) {
        self.shard(invocation.home).all.remove(&invocation.facts.id);
    }

    pub(crate) fn get(&self, id: &InvocationId) -> Option<Arc<Invocation>> {
        let mut shards = self.shards.iter();
        shards.find_map(|shard| lock(shard).all.get(id).cloned())
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Invocation>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| lock(shard).all.values().cloned().collect::<Vec<_>>())
            .collect()
    }

    fn shard(&self, home: Home) -> MutexGuard<'_, Shard> {
        lock(&self.shards[home.0])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
