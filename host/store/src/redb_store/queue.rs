//! The line in front of the committer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{Commit, CommitError, Committed};

/// Commits with a waiting caller that share one transaction.
const BATCH: usize = 256;
/// What one transaction holds at most.
const BATCH_ENTRIES: usize = 4096;
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// So many waiting records are written without waiting longer.
const SOON_ENTRIES: usize = 1024;
/// Records taken over and not yet written. Beyond that the disk does not keep up, and taking on
/// more would only hide it.
const BACKLOG_ENTRIES: usize = 65_536;
const BACKLOG_BYTES: usize = 64 * 1024 * 1024;
/// How soon a store that failed tries again on its own.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// One commit in line; without a reply it was taken over to be written soon.
pub(super) struct Entry {
    pub(super) commit: Commit,
    pub(super) reply: Option<oneshot::Sender<Result<Committed, CommitError>>>,
}

/// What the committer is to do next.
pub(super) enum Work {
    /// Write these, in this order. An empty batch asks for a sign of life: write anything.
    Batch(Vec<Entry>),
    /// There is no more, and never will be.
    Done,
}

#[derive(Default)]
struct Line {
    entries: VecDeque<Entry>,
    waiting: usize,
    soon: usize,
    soon_bytes: usize,
    due: Option<Instant>,
    /// Set from a failed write to the next good one.
    failed: Option<Failed>,
    closed: bool,
}

struct Failed {
    reason: CommitError,
    retry_at: Instant,
    pause: Duration,
}

pub(super) struct Queue {
    line: Mutex<Line>,
    changed: Condvar,
    delay: Duration,
}

impl Queue {
    pub(super) fn new(delay: Duration) -> Self {
        Self {
            line: Mutex::default(),
            changed: Condvar::new(),
            delay,
        }
    }

    pub(super) fn push(
        &self,
        commit: Commit,
        reply: oneshot::Sender<Result<Committed, CommitError>>,
    ) -> Result<(), CommitError> {
        let mut line = self.line();
        if line.closed {
            return Err(closed());
        }
        line.waiting += 1;
        line.entries.push_back(Entry {
            commit,
            reply: Some(reply),
        });
        drop(line);
        self.changed.notify_one();
        Ok(())
    }

    /// Does not wake the committer for each record: it wakes by itself when the first one is due.
    pub(super) fn push_soon(&self, commit: Commit) -> Result<(), CommitError> {
        let mut line = self.line();
        if line.closed {
            return Err(closed());
        }
        if let Some(failed) = &line.failed {
            return Err(failed.reason.clone());
        }
        let bytes = commit.size();
        if line.soon >= BACKLOG_ENTRIES || line.soon_bytes + bytes > BACKLOG_BYTES {
            return Err(CommitError::Unavailable(
                "the disk does not keep up with the records to be written".to_owned(),
            ));
        }
        line.soon += 1;
        line.soon_bytes += bytes;
        line.entries.push_back(Entry {
            commit,
            reply: None,
        });
        let wake = line.due.is_none() || line.soon == SOON_ENTRIES;
        line.due.get_or_insert_with(|| Instant::now() + self.delay);
        drop(line);
        if wake {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Work {
        let mut line = self.line();
        loop {
            if line.closed && line.entries.is_empty() {
                return Work::Done;
            }
            if line.waiting > 0 || line.closed {
                return Work::Batch(line.take());
            }
            let wake_at = match &line.failed {
                Some(failed) => Some(failed.retry_at),
                None if line.soon >= SOON_ENTRIES => Some(Instant::now()),
                None => line.due,
            };
            line = match wake_at {
                None => self
                    .changed
                    .wait(line)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let now = Instant::now();
                    if at <= now {
                        return Work::Batch(line.take());
                    }
                    self.changed
                        .wait_timeout(line, at - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    /// A write was good: records are taken over again.
    pub(super) fn recovered(&self) {
        self.line().failed = None;
    }

    /// A write was not: what had been taken over goes back to the front, in order, and nothing
    /// more is taken over until a write is good again.
    pub(super) fn failed(&self, reason: CommitError, unwritten: Vec<Entry>) {
        let mut line = self.line();
        for entry in unwritten.into_iter().rev() {
            line.soon += 1;
            line.soon_bytes += entry.commit.size();
            line.entries.push_front(entry);
        }
        if line.soon > 0 {
            line.due.get_or_insert_with(Instant::now);
        }
        let pause = match &line.failed {
            Some(failed) => (failed.pause * 2).min(RETRY_LAST),
            None => RETRY_FIRST,
        };
        line.failed = Some(Failed {
            reason,
            retry_at: Instant::now() + pause,
            pause,
        });
    }

    /// A reader met an error that only opening the file again can mend.
    pub(super) fn suspect(&self, reason: CommitError) {
        let mut line = self.line();
        if line.failed.is_none() {
            line.failed = Some(Failed {
                reason,
                retry_at: Instant::now(),
                pause: RETRY_FIRST,
            });
            drop(line);
            self.changed.notify_one();
        }
    }

    /// Takes nothing more; what is in line is still written.
    pub(super) fn close(&self) {
        self.line().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.line().closed
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn take(&mut self) -> Vec<Entry> {
        let mut batch = Vec::new();
        let (mut waiting, mut bytes) = (0, 0);
        while let Some(entry) = self.entries.front() {
            let size = entry.commit.size();
            if waiting == BATCH
                || batch.len() == BATCH_ENTRIES
                || (bytes + size > BATCH_BYTES && !batch.is_empty())
            {
                break;
            }
            bytes += size;
            match entry.reply {
                Some(_) => waiting += 1,
                None => {
                    self.soon -= 1;
                    self.soon_bytes -= size;
                }
            }
            batch.extend(self.entries.pop_front());
        }
        self.waiting -= waiting;
        // What is left was due no later than what was taken.
        if self.soon == 0 {
            self.due = None;
        }
        batch
    }
}

fn closed() -> CommitError {
    CommitError::Unavailable("the store is closed".to_owned())
}
