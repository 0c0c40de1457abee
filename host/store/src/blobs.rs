//! Immutable files named by their content.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

const TEMPORARY: &str = ".new-";

/// The SHA-256 of a blob; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// The id that these bytes have.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for BlobId {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl From<&[u8; 32]> for BlobId {
    fn from(hash: &[u8; 32]) -> Self {
        Self(*hash)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobId {
    type Err = BlobError;

    /// Takes exactly what `Display` prints: 64 lower-case digits.
    fn from_str(text: &str) -> Result<Self, BlobError> {
        let mut hash = [0; 32];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut hash) {
            Ok(()) if lower => Ok(Self(hash)),
            _ => Err(BlobError::InvalidId),
        }
    }
}

/// Why a blob operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such blob.
    #[error("there is no blob {0}")]
    NotFound(BlobId),
    /// The file's content does not have the hash it is named by.
    #[error("blob {0} is damaged")]
    Corrupt(BlobId),
    /// The text is not 64 lower-case hexadecimal digits.
    #[error("a blob id is 64 lower-case hexadecimal digits")]
    InvalidId,
    /// There is no space left.
    #[error("the disk of {} is full", path.display())]
    Full {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                path: path.to_owned(),
            },
            _ => Self::Io {
                action,
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// A directory of immutable files named by the SHA-256 of their content. A cheap handle.
///
/// Calls block on the disk. One process at a time may have a directory open; the store's lock on
/// the data directory sees to that.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: Arc<PathBuf>,
}

impl Blobs {
    /// Opens a directory, creating it if needed, and removes what an interrupted write left.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let dir = dir.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| BlobError::io("create", &dir, error))?;
        let entries = fs::read_dir(&dir).map_err(|error| BlobError::io("read", &dir, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| BlobError::io("read", &dir, error))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path())
                    .map_err(|error| BlobError::io("remove", &entry.path(), error))?;
            }
        }
        Ok(Self { dir: Arc::new(dir) })
    }

    /// Stores bytes and returns their id. Durable when it returns; storing the same again writes
    /// nothing, unless what is there is damaged.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        let id = BlobId::of(bytes);
        self.put_as(id, bytes)?;
        Ok(id)
    }

    /// Stores bytes whose id the caller has computed already; else as [`Blobs::put`]. Under another
    /// id they would be found damaged when they are read.
    pub fn put_as(&self, id: BlobId, bytes: &[u8]) -> Result<(), BlobError> {
        let path = self.path(&id);
        if fs::read(&path).is_ok_and(|stored| stored == bytes) {
            return Ok(());
        }
        let failed = |error| BlobError::io("write", &path, error);
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&*self.dir)
            .map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        self.sync()
    }

    /// The bytes of a blob, checked against its id.
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>, BlobError> {
        let path = self.path(id);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::NotFound(*id),
            _ => BlobError::io("read", &path, error),
        })?;
        if BlobId::of(&bytes) != *id {
            return Err(BlobError::Corrupt(*id));
        }
        Ok(bytes)
    }

    /// Whether a blob is there. Says nothing about its content.
    pub fn contains(&self, id: &BlobId) -> bool {
        self.path(id).is_file()
    }

    /// Where a blob is, or would be. Whoever reads the file has to check it.
    pub fn path(&self, id: &BlobId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// The ids of all blobs, in order.
    pub fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        let failed = |error| BlobError::io("read", &self.dir, error);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&*self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<BlobId>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes a blob; one that is not there is no error.
    pub fn remove(&self, id: &BlobId) -> Result<(), BlobError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(BlobError::io("remove", &path, error)),
        }
    }

    /// A renamed or removed file is only certain once its directory is on disk.
    fn sync(&self) -> Result<(), BlobError> {
        File::open(&*self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| BlobError::io("sync", &self.dir, error))
    }
}
