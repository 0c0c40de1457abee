//! Opening the store file.

use std::fmt;
use std::io;
use std::ops::Bound;

use redb::{BackendError, Database, ReadableDatabase, StorageBackend};

use super::disk::Disk;
use super::fault::{Fault, guarded};
use super::tables::{COMMITS_KEY, EPOCH_KEY, META, SCHEMA, SCHEMA_KEY};
use crate::OpenError;

/// Writes the first transaction of a new store.
pub(super) fn initialise(
    backend: Box<dyn StorageBackend>,
    disk: &impl Disk,
) -> Result<(), OpenError> {
    let write = || -> Result<(), Fault> {
        let database = redb::Builder::new().create_with_backend(Boxed(backend))?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(SCHEMA_KEY, SCHEMA)?;
            meta.insert(EPOCH_KEY, 0)?;
            meta.insert(COMMITS_KEY, 0)?;
        }
        transaction.commit()?;
        Ok(())
    };
    guarded(write).map_err(|fault| refused(fault, disk))
}

/// Opens an existing store file, as it is.
pub(super) fn database(disk: &dyn Disk, cache: usize) -> Result<Database, Fault> {
    guarded(|| {
        let backend = disk.open().map_err(Fault::Io)?;
        // redb would take an empty file for a new database.
        if backend.len().map_err(Fault::Io)? == 0 {
            return Err(Fault::Corrupt("the file is empty".to_owned()));
        }
        Ok(redb::Builder::new()
            .set_cache_size(cache)
            .create_with_backend(Boxed(backend))?)
    })
}

/// What the store says of itself.
pub(super) struct Meta {
    pub(super) schema: u64,
    pub(super) epoch: u64,
    pub(super) commits: u64,
}

pub(super) fn meta(database: &Database) -> Result<Meta, Fault> {
    guarded(|| {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let field = |key: &str| match meta.get(key) {
            Ok(Some(value)) => Ok(value.value()),
            Ok(None) => Err(Fault::Corrupt(format!("it has no {key}"))),
            Err(error) => Err(error.into()),
        };
        Ok(Meta {
            schema: field(SCHEMA_KEY)?,
            epoch: field(EPOCH_KEY)?,
            commits: field(COMMITS_KEY)?,
        })
    })
}

/// Becomes the owner: everything appended from here on carries the new epoch.
pub(super) fn take_ownership(database: &Database, epoch: u64) -> Result<(), Fault> {
    guarded(|| {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(EPOCH_KEY, epoch)?;
        Ok(transaction.commit()?)
    })
}

pub(super) fn refused(fault: Fault, disk: &(impl Disk + ?Sized)) -> OpenError {
    let path = disk.path();
    match fault {
        Fault::Full => OpenError::Full { path },
        Fault::InUse => OpenError::InUse { path },
        Fault::Corrupt(reason) => OpenError::Corrupt { path, reason },
        Fault::Stale => OpenError::Io {
            action: "open",
            path,
            source: io::Error::other("an earlier operation on the file failed"),
        },
        Fault::Io(source) => OpenError::Io {
            action: "open",
            path,
            source,
        },
    }
}

/// redb takes a backend by its type; the store chooses it at run time.
struct Boxed(Box<dyn StorageBackend>);

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
