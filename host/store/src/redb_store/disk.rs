//! The data directory: the store file, the lock and the reserve.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::OpenError;

/// Space kept back for urgent commits.
pub(super) const RESERVE: u64 = 4 * 1024 * 1024;

pub(super) const STORE: &str = "store.redb";
const UNFINISHED: &str = "store.redb.new";
const RESERVE_FILE: &str = "reserve";
const LOCK: &str = "store.lock";
/// The lock of directories from before the emergency lock took over this name.
const FORMER_LOCK: &str = "lock";

/// Where the bytes go. The one implementation beside the data directory injects faults.
pub(super) trait Disk: Send + Sync + 'static {
    /// The file shown in errors.
    fn path(&self) -> PathBuf;
    /// Opens the store file, which exists.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Bytes that can still be written.
    fn free(&self) -> io::Result<u64>;
    /// Whether the reserve is there.
    fn reserve_held(&self) -> bool;
    /// Takes space for the reserve.
    fn hold_reserve(&self) -> io::Result<()>;
    /// Gives the reserve's space to the store.
    fn release_reserve(&self) -> io::Result<()>;
}

/// A data directory that this process, and no other, has open.
pub(super) struct Directory {
    dir: PathBuf,
    /// Held for as long as the store is open, also while redb has to close and open its file.
    _lock: File,
}

impl Directory {
    /// Creates the directory if needed and locks it.
    pub(super) fn lock(dir: &Path) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| refused("create", dir, error))?;
        if dir.join(STORE).exists() && !dir.join(LOCK).exists() {
            let path = dir.join(FORMER_LOCK);
            let _former = match private().open(&path) {
                Ok(file) => Some(exclusive(file, dir, &path)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(refused("open", &path, error)),
            };
            // Empty, it was the lock of a process. With text in it, it was meant.
            if fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
                fs::remove_file(&path).map_err(|error| refused("remove", &path, error))?;
            }
        }
        let path = dir.join(LOCK);
        let lock = private()
            .create(true)
            .open(&path)
            .map_err(|error| refused("open", &path, error))?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: exclusive(lock, dir, &path)?,
        })
    }

    /// Makes the store file if there is none. `initialise` writes the first transaction; only a
    /// file with that on disk gets the real name, so that a power cut leaves all or nothing.
    pub(super) fn ensure_store(
        &self,
        initialise: impl FnOnce(Box<dyn StorageBackend>) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let path = self.dir.join(STORE);
        let unfinished = self.dir.join(UNFINISHED);
        if path.exists() {
            return Ok(());
        }
        let failed = |error| refused("create", &path, error);
        let file = private()
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .map_err(failed)?;
        let synced = file.try_clone().map_err(failed)?;
        initialise(Box::new(
            FileBackend::new(file).map_err(|error| failed(io::Error::other(error)))?,
        ))?;
        synced.sync_all().map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(failed)?;
        self.sync().map_err(failed)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// How long a lock is waited for, and how long between two looks at it.
const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Locks a file for as long as it stays open.
///
/// A host that was killed while it started a process leaves a copy of itself for the moments until
/// that has become its own program, and with it the lock: that much is waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "a store is opened on a thread that may block, and nobody tells when a lock is free"
)]
fn exclusive(file: File, dir: &Path, path: &Path) -> Result<File, OpenError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(refused("lock", path, error)),
        }
    }
}

impl Disk for Directory {
    fn path(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = private().open(self.dir.join(STORE))?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.dir)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn reserve_held(&self) -> bool {
        fs::metadata(self.dir.join(RESERVE_FILE)).is_ok_and(|file| file.len() == RESERVE)
    }

    fn hold_reserve(&self) -> io::Result<()> {
        let path = self.dir.join(RESERVE_FILE);
        let written = private()
            .create(true)
            .truncate(true)
            .open(&path)
            .and_then(|mut file| {
                // Written, not only allocated: not every file system can promise space.
                let block = [0; 64 * 1024];
                for _ in 0..RESERVE / block.len() as u64 {
                    file.write_all(&block)?;
                }
                file.sync_all()
            });
        if written.is_err() {
            // Half a reserve would be taken for none, and keep its space from everyone.
            let _ = fs::remove_file(&path);
        }
        written
    }

    fn release_reserve(&self) -> io::Result<()> {
        match fs::remove_file(self.dir.join(RESERVE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn refused(action: &'static str, path: &Path, source: io::Error) -> OpenError {
    if is_full(&source) {
        return OpenError::Full {
            path: path.to_owned(),
        };
    }
    OpenError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
