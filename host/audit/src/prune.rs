//! Letting go of the oldest records, so that what is left still verifies.

use std::time::Duration;

use nexus_store::{Commit, Position, link, now_ms};

use crate::checkpoint::Purpose;
use crate::trail::{CHECKPOINTS, Inner};
use crate::{Audit, AuditError, Checkpoint, Event, EventKind, LOG};

/// Records read and let go of at a time.
const PAGE: usize = 1000;
const PAGES: usize = 10;
/// A surplus is let go of once it is a tenth of what is kept, within these bounds.
const WORTH: (u64, u64) = (3, 1000);
/// Where the latest word on what was let go of is kept.
const PRUNED: &[u8] = b"pruned";

/// How much of the trail is kept. Without either bound, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// Only so many records, the newest.
    pub records: Option<u64>,
    /// Only records that are younger.
    pub age: Option<Duration>,
}

impl Audit {
    /// Lets go of the oldest records that `retain` does not ask for, at most ten thousand of them, and
    /// returns what the host then signs: the position of the last of them, which stands for all that
    /// it has covered. `None` if nothing is to go.
    ///
    /// The records are held against their hashes first: what was changed is not signed away. Those
    /// from the latest checkpoint on are always kept. One transaction: a crash leaves all or nothing.
    ///
    /// `ready` is awaited before anything goes, and only then: whoever relies on a record in the trail
    /// writes it anew. Nothing goes if it answers no.
    pub async fn prune(
        &self,
        retain: &Retain,
        ready: impl Future<Output = bool>,
    ) -> Result<Option<Checkpoint>, AuditError> {
        self.inner().prune(retain, ready).await
    }
}

impl Inner {
    async fn prune(
        &self,
        retain: &Retain,
        ready: impl Future<Output = bool>,
    ) -> Result<Option<Checkpoint>, AuditError> {
        let _signing = self.signing.lock().await;
        let Some(latest) = self.latest.borrow().clone() else {
            return Ok(None);
        };
        let head = self.store.head(LOG).await.map_err(AuditError::Read)?;
        let base = self.base().await?;
        let present = head.sequence.saturating_sub(base.sequence);
        let surplus = retain.records.map_or(0, |kept| {
            // The word on a few would take more room than they do, and ask for another one.
            let worth = (kept / 10).clamp(WORTH.0, WORTH.1);
            if present.saturating_sub(kept) < worth {
                0
            } else {
                head.sequence - kept
            }
        });
        let old_ms = retain.age.map_or(0, |age| {
            now_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        });
        // A start compares the record that the latest checkpoint signs.
        let last = latest.sequence.saturating_sub(1);

        let mut end = base;
        'pages: for _ in 0..PAGES {
            let page = self.store.read_log(LOG, end.sequence + 1, PAGE).await;
            let page = page.map_err(AuditError::Read)?;
            for record in &page {
                let sequence = record.sequence;
                let follows = record.previous == end.hash && sequence == end.sequence + 1;
                if !follows || record.hash != link(&record.previous, sequence, &record.record) {
                    return Err(AuditError::Broken { sequence });
                }
                let old =
                    || Event::decode(&record.record).is_some_and(|event| event.time_ms < old_ms);
                if sequence > last || !(sequence <= surplus || old()) {
                    break 'pages;
                }
                end = Position {
                    sequence,
                    hash: record.hash,
                };
            }
            if page.len() < PAGE {
                break;
            }
        }
        if end == base || !ready.await {
            return Ok(None);
        }
        let word = Checkpoint::sign(Purpose::Pruned, end, &self.key);
        let encoded = serde_json::to_value(&word)
            .expect("a checkpoint is plain data, which always has a JSON form");
        let mut commit = Commit::new();
        commit.put(CHECKPOINTS, PRUNED, encoded.to_string());
        // In what is left of the trail, so that a copy of it proves that nothing else is missing.
        let event = Event::new(EventKind::TrailPruned)
            .detail(serde_json::json!({ "first": base.sequence + 1, "pruned": encoded }));
        commit.append(LOG, event.encode());
        commit.trim(LOG, end.sequence + 1);
        self.store.commit(commit).await.map_err(AuditError::Write)?;
        tracing::info!(last = end.sequence, "audit records were let go of");
        Ok(Some(word))
    }

    /// Where the trail begins by the host's own word. Whoever cut records off before must not have
    /// that signed.
    async fn base(&self) -> Result<Position, AuditError> {
        let word = self.store.get(CHECKPOINTS, PRUNED).await;
        let Some(word) = word.map_err(AuditError::Read)? else {
            return Ok(Position::EMPTY);
        };
        let word = serde_json::from_slice::<Checkpoint>(&word)
            .ok()
            .filter(|word| word.is_signed_as(Purpose::Pruned, &self.key.verifying_key()))
            .ok_or(AuditError::DamagedCheckpoint)?;
        Ok(Position {
            sequence: word.sequence,
            hash: word.hash,
        })
    }
}
