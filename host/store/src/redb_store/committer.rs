//! The one thread that writes.

use std::sync::{Arc, PoisonError};

use super::batch::{self, Applied, Heads};
use super::disk::{Disk, RESERVE};
use super::fault::{Fault, guarded};
use super::open;
use super::queue::{Entry, Work};
use super::shared::Shared;
use crate::CommitError;

/// Below this much space nothing ordinary is started: a transaction that runs out of space in
/// its middle costs a recovery of the whole file.
const HEADROOM: u64 = 1024 * 1024;
/// What an operation may rewrite beside its own bytes: the tree pages above it.
const PER_OPERATION: u64 = 16 * 1024;

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) cache: usize,
    pub(super) epoch: u64,
    pub(super) commits: u64,
    pub(super) heads: Heads,
}

impl Committer {
    /// Writes until the store is closed and the line is empty.
    pub(super) fn run(mut self) {
        while let Work::Batch(batch) = self.shared.queue.next() {
            self.write(batch);
        }
        *self.database() = None;
    }

    fn write(&mut self, batch: Vec<Entry>) {
        let result = if self.has_room(&batch) {
            self.attempt(&batch)
        } else {
            Err(Fault::Full)
        };
        match result {
            Ok(applied) => {
                self.shared.queue.recovered();
                self.acknowledge(batch, applied);
                self.refill_reserve();
            }
            Err(Fault::Full) if batch.iter().any(|entry| entry.commit.is_urgent()) => {
                self.write_urgent(batch);
            }
            Err(fault) => self.refuse(batch, &fault),
        }
    }

    /// Gives up the reserve for what must not wait, and for the records in line before it.
    fn write_urgent(&mut self, batch: Vec<Entry>) {
        let (urgent, others): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|entry| entry.reply.is_none() || entry.commit.is_urgent());
        self.shared.queue.failed(CommitError::Full, Vec::new());
        for entry in others {
            answer(entry, Err(CommitError::Full));
        }
        if let Err(error) = self.disk.release_reserve() {
            tracing::error!(%error, "the reserve of the data directory could not be released");
        }
        match self.attempt(&urgent) {
            Ok(applied) => self.acknowledge(urgent, applied),
            Err(fault) => self.refuse(urgent, &fault),
        }
    }

    /// One transaction. After a failure the file is open again if that is possible, so that
    /// reads go on, and `commits` tells what it holds.
    fn attempt(&mut self, batch: &[Entry]) -> Result<Applied, Fault> {
        match self.transact(batch) {
            // An error from before this batch, met by a reader: the batch itself has not run.
            Err(Fault::Stale) => {
                self.reopen()?;
                self.transact(batch).inspect_err(|_| self.reopen_or_warn())
            }
            other => other.inspect_err(|_| self.reopen_or_warn()),
        }
    }

    fn transact(&self, batch: &[Entry]) -> Result<Applied, Fault> {
        let database = self
            .shared
            .database
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(Fault::Stale)?;
        let commits = batch.iter().map(|entry| &entry.commit);
        guarded(|| batch::apply(database, commits, &self.heads, self.epoch, self.commits))
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.heads.clear();
        let mut slot = self.database();
        // Closed first: the file is locked while it is open.
        *slot = None;
        let database = open::database(&*self.disk, self.cache)?;
        open::meta(&database)?;
        *slot = Some(database);
        Ok(())
    }

    fn reopen_or_warn(&mut self) {
        if let Err(fault) = self.reopen() {
            tracing::error!(%fault, "the store file could not be opened again");
        }
    }

    fn acknowledge(&mut self, batch: Vec<Entry>, applied: Applied) {
        self.commits = applied.commits;
        self.heads = applied.heads;
        self.shared.announce(&self.heads);
        for (entry, outcome) in batch.into_iter().zip(applied.outcomes) {
            answer(entry, outcome);
        }
    }

    fn refuse(&mut self, batch: Vec<Entry>, fault: &Fault) {
        // A failed sync may have left the transaction in the file. It is not acknowledged, and
        // records it holds are not written twice.
        let landed = self.landed();
        let reason = match fault {
            Fault::Full if !landed => CommitError::Full,
            fault => CommitError::Unavailable(fault.to_string()),
        };
        tracing::error!(%fault, "a commit failed; actions are refused until the store can write");
        let (waiting, soon): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|entry| entry.reply.is_some());
        if self.shared.queue.is_closed() {
            if !landed && !soon.is_empty() {
                tracing::error!(
                    records = soon.len(),
                    "records were lost as the store closed"
                );
            }
        } else {
            // Before the answers: whoever is told of the failure finds records refused.
            let unwritten = if landed { Vec::new() } else { soon };
            self.shared.queue.failed(reason.clone(), unwritten);
        }
        for entry in waiting {
            answer(entry, Err(reason.clone()));
        }
    }

    /// Whether the transaction that failed is in the file after all.
    fn landed(&mut self) -> bool {
        let found = {
            let database = self.database();
            database.as_ref().map(open::meta)
        };
        match found {
            Some(Ok(meta)) => {
                let landed = meta.commits > self.commits;
                self.commits = meta.commits;
                landed
            }
            _ => false,
        }
    }

    fn has_room(&self, batch: &[Entry]) -> bool {
        let Ok(free) = self.disk.free() else {
            // The write itself will tell.
            return true;
        };
        let mut needed = HEADROOM;
        for entry in batch {
            needed += 4 * entry.commit.size() as u64;
            needed += PER_OPERATION * entry.commit.operations().len() as u64;
        }
        // The space of a reserve that was given up is not for ordinary commits.
        if !self.disk.reserve_held() {
            needed += RESERVE;
        }
        free >= needed
    }

    fn refill_reserve(&self) {
        let missing = !self.disk.reserve_held();
        if missing && let Err(error) = self.disk.hold_reserve() {
            tracing::warn!(%error, "the reserve of the data directory could not be restored");
        }
    }

    fn database(&self) -> std::sync::RwLockWriteGuard<'_, Option<redb::Database>> {
        self.shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that no longer waits does not take back its commit.
fn answer(entry: Entry, outcome: Result<crate::Committed, CommitError>) {
    match entry.reply {
        Some(reply) => drop(reply.send(outcome)),
        None => {
            if let Err(error) = outcome {
                tracing::error!(%error, "a record that had been taken over was refused");
            }
        }
    }
}
