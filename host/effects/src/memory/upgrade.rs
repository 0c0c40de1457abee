//! Entries that a version before sealing wrote.

use nexus_store::{Commit, CommitError, ReadError, Scan, Table};

use super::row::{ENTRIES, Row, place_of};
use super::space::Memory;

/// What is true of all spaces.
const META: Table = Table("memory_meta");
/// There once every entry is sealed. From then on one that lies open was put there by somebody else.
const ALL_SEALED: &[u8] = b"sealed";
/// How many entries are looked at in one commit, each of which may have a megabyte.
const BATCH: usize = 16;

/// Why the entries of an earlier version could not be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The store can't be read.
    #[error("the memory spaces could not be read")]
    Read(#[source] ReadError),
    /// The store can't be written.
    #[error("the memory spaces could not be written")]
    Write(#[source] CommitError),
    /// The vault can't seal.
    #[error("an entry of a memory space could not be sealed")]
    Seal(#[source] nexus_vault::Error),
    /// A row is none that any version wrote.
    #[error("an entry of a memory space is damaged: restore the data directory from a backup")]
    Damaged,
}

impl Memory {
    /// Seals what an earlier version left in clear, and says how many entries that were. To be called
    /// before anybody reads or writes; it begins again where it was cut short. After it has once come
    /// to the end it has nothing to do, and takes no entry that lies open any more.
    pub async fn seal_leftovers(&self) -> Result<u64, UpgradeError> {
        let store = &self.0.store;
        let done = store.get(META, ALL_SEALED).await;
        if done.map_err(UpgradeError::Read)?.is_some() {
            return Ok(0);
        }
        let (mut sealed, mut after) = (0, None);
        loop {
            let scan = Scan {
                prefix: Vec::new(),
                after: after.clone(),
                limit: BATCH,
                reverse: false,
            };
            let rows = store
                .scan(ENTRIES, scan)
                .await
                .map_err(UpgradeError::Read)?;
            let mut commit = Commit::new();
            for (stored, bytes) in rows.iter().filter(|(_, bytes)| Row::lies_open(bytes)) {
                let key = place_of(stored).ok_or(UpgradeError::Damaged)?;
                let row = Row::from_open(bytes).ok_or(UpgradeError::Damaged)?;
                let row = row.seal(&key, &self.0.vault).map_err(UpgradeError::Seal)?;
                commit.expect_value(ENTRIES, stored, bytes.clone());
                commit.put(ENTRIES, stored, row);
                sealed += 1;
            }
            let more = rows.len() == BATCH;
            if !more {
                commit.put(META, ALL_SEALED, b"1");
            }
            store.commit(commit).await.map_err(UpgradeError::Write)?;
            match rows.into_iter().next_back() {
                Some((last, _)) if more => after = Some(last),
                _ => return Ok(sealed),
            }
        }
    }
}
