//! Many commits in one redb transaction.

use std::collections::HashMap;

use redb::{Database, ReadableTable, Table as RedbTable, WriteTransaction};

use super::fault::Fault;
use super::tables::{
    COMMITS_KEY, Entries, META, Records, decode_record, decode_value, encode_record, encode_value,
    log_name, table_name,
};
use crate::{
    Commit, CommitError, Committed, Expectation, Log, Operation, Position, ReadError, Table, link,
};

/// The last record of each log written so far.
pub(super) type Heads = HashMap<Log, Position>;

/// A transaction that is durable.
pub(super) struct Applied {
    /// Per commit, in order.
    pub(super) outcomes: Vec<Result<Committed, CommitError>>,
    pub(super) heads: Heads,
    /// Number of transactions the store has had, this one included.
    pub(super) commits: u64,
}

/// Runs commits one after the other in one transaction. A commit whose expectations fail writes
/// nothing and is told so; the others go on. An error means that none of it happened, or that
/// it is unknown whether all of it did.
pub(super) fn apply<'a>(
    database: &Database,
    batch: impl Iterator<Item = &'a Commit>,
    heads: &Heads,
    epoch: u64,
    commits: u64,
) -> Result<Applied, Fault> {
    let transaction = database.begin_write()?;
    let (outcomes, heads) = run(&transaction, batch, heads, epoch)?;
    // Nothing to write: the answers are right without a sync. An empty batch is a sign of life.
    if !outcomes.is_empty() && outcomes.iter().all(Result::is_err) {
        transaction.abort()?;
        return Ok(Applied {
            outcomes,
            heads,
            commits,
        });
    }
    transaction
        .open_table(META)?
        .insert(COMMITS_KEY, commits + 1)?;
    transaction.commit()?;
    Ok(Applied {
        outcomes,
        heads,
        commits: commits + 1,
    })
}

fn run<'a>(
    transaction: &WriteTransaction,
    batch: impl Iterator<Item = &'a Commit>,
    heads: &Heads,
    epoch: u64,
) -> Result<(Vec<Result<Committed, CommitError>>, Heads), Fault> {
    let mut run = Run {
        transaction,
        tables: HashMap::new(),
        logs: HashMap::new(),
        heads: heads.clone(),
        epoch,
    };
    let outcomes = batch
        .map(|commit| run.commit(commit))
        .collect::<Result<_, _>>()?;
    Ok((outcomes, run.heads))
}

/// Tables stay open from one commit of the batch to the next.
struct Run<'t> {
    transaction: &'t WriteTransaction,
    tables: HashMap<Table, RedbTable<'t, &'static [u8], &'static [u8]>>,
    logs: HashMap<Log, RedbTable<'t, u64, &'static [u8]>>,
    heads: Heads,
    epoch: u64,
}

impl<'t> Run<'t> {
    fn commit(&mut self, commit: &Commit) -> Result<Result<Committed, CommitError>, Fault> {
        for expectation in commit.expectations() {
            let (table, key, wanted) = match expectation {
                Expectation::Absent { table, key } => (*table, key, None),
                Expectation::Value { table, key, value } => (*table, key, Some(value)),
            };
            let stored = self.table(table)?.get(key.as_slice())?;
            let found = match &stored {
                None => None,
                Some(stored) => match decode_value(table, key, stored.value()) {
                    Ok(value) => Some(value),
                    // Damage in one entry refuses the commits that rely on it, and no others.
                    Err(error) => return Ok(Err(CommitError::Unavailable(error.to_string()))),
                },
            };
            if found != wanted.map(Vec::as_slice) {
                return Ok(Err(CommitError::Conflict {
                    table,
                    key: key.clone(),
                }));
            }
        }
        let mut positions = Vec::new();
        for operation in commit.operations() {
            match operation {
                Operation::Put { table, key, value } => {
                    let stored = encode_value(*table, key, value);
                    self.table(*table)?
                        .insert(key.as_slice(), stored.as_slice())?;
                }
                Operation::Delete { table, key } => {
                    self.table(*table)?.remove(key.as_slice())?;
                }
                Operation::Append { log, record } => positions.push(self.append(*log, record)?),
                Operation::Trim { log, before } => self.trim(*log, *before)?,
            }
        }
        Ok(Ok(Committed { positions }))
    }

    fn append(&mut self, log: Log, record: &[u8]) -> Result<Position, Fault> {
        let known = self.heads.get(&log).copied();
        let epoch = self.epoch;
        let records = self.log(log)?;
        let head = match known {
            Some(head) => head,
            None => match records.last()? {
                None => Position::EMPTY,
                Some((sequence, stored)) => decode_record(log, sequence.value(), stored.value())
                    .map(|last| Position {
                        sequence: last.sequence,
                        hash: last.hash,
                    })
                    .map_err(|error: ReadError| Fault::Corrupt(error.to_string()))?,
            },
        };
        let sequence = head.sequence + 1;
        let hash = link(&head.hash, sequence, record);
        let stored = encode_record(epoch, &head.hash, &hash, record);
        records.insert(sequence, stored.as_slice())?;
        let position = Position { sequence, hash };
        self.heads.insert(log, position);
        Ok(position)
    }

    fn trim(&mut self, log: Log, before: u64) -> Result<(), Fault> {
        let records = self.log(log)?;
        let last = records.last()?.map(|(sequence, _)| sequence.value());
        if let Some(last) = last {
            records.retain_in(..before.min(last), |_, _| false)?;
        }
        Ok(())
    }

    fn table(
        &mut self,
        table: Table,
    ) -> Result<&mut RedbTable<'t, &'static [u8], &'static [u8]>, Fault> {
        use std::collections::hash_map::Entry;
        Ok(match self.tables.entry(table) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(slot) => {
                let name = table_name(table);
                slot.insert(self.transaction.open_table(Entries::new(&name))?)
            }
        })
    }

    fn log(&mut self, log: Log) -> Result<&mut RedbTable<'t, u64, &'static [u8]>, Fault> {
        use std::collections::hash_map::Entry;
        Ok(match self.logs.entry(log) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(slot) => {
                let name = log_name(log);
                slot.insert(self.transaction.open_table(Records::new(&name))?)
            }
        })
    }
}
