//! The key that wraps all others.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::cipher::Key;
use crate::error::MasterKeyError;

const HEADER: &str = "nexus-master-key-1 ";

/// The master key. Its `Debug` shows its id only.
///
/// Losing it loses every secret; whoever has it and the store has every secret.
pub struct MasterKey {
    pub(crate) key: Key,
    /// The key of a rotation that was under way when the host died, and its file.
    pub(crate) next: Option<Key>,
    pub(crate) path: Option<PathBuf>,
}

impl MasterKey {
    /// Reads the key from `path`, or makes a new one there with mode 0600.
    ///
    /// The file appears complete or not at all, and is never overwritten: of two hosts that start
    /// at once, both get the same key. A file that others can read is refused.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, MasterKeyError> {
        let path = path.as_ref();
        let key = match read(path)? {
            Some(key) => key,
            None => {
                let key = Key::generate().map_err(|e| MasterKeyError::Random(e.to_string()))?;
                create(path, &key)?;
                // Another host may have been first; what the file says holds.
                read(path)?.ok_or_else(|| io_error(path, io::ErrorKind::NotFound.into()))?
            }
        };
        Ok(Self {
            key,
            next: read(&next_path(path))?,
            path: Some(path.to_owned()),
        })
    }

    /// A key from elsewhere, such as a command or the environment.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self {
            key: Key::from_array(&bytes),
            next: None,
            path: None,
        }
    }

    /// A short name of the key, which tells nothing about it.
    pub fn id(&self) -> String {
        id(&self.key)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The first 64 bits of a hash of the key: the key is random, so nothing can be guessed from it.
pub(crate) fn id(key: &Key) -> String {
    let hash = Sha256::new()
        .chain_update(b"nexus-vault key id\0")
        .chain_update(key.as_bytes())
        .finalize();
    hex::encode(&hash[..8])
}

/// Where the coming key waits until the rows are wrapped with it.
pub(crate) fn next_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

/// Makes `path` with the key, 0600. An existing file is left as it is.
pub(crate) fn create(path: &Path, key: &Key) -> Result<(), MasterKeyError> {
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|e| MasterKeyError::Random(e.to_string()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", hex::encode(suffix)));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let text = Zeroizing::new(format!("{HEADER}{}\n", hex::encode(key.as_bytes())));
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link, unlike a rename, does not replace a key that is already there.
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    })();
    let removed = fs::remove_file(&temporary);
    written
        .and(removed)
        .and_then(|()| sync_parent(path))
        .map_err(|source| io_error(path, source))
}

/// Puts the key waiting in `path.next` in the place of `path`.
pub(crate) fn promote(path: &Path) -> Result<(), MasterKeyError> {
    fs::rename(next_path(path), path)
        .and_then(|()| sync_parent(path))
        .map_err(|source| io_error(path, source))
}

/// Removes a waiting key that was never used.
pub(crate) fn discard(path: &Path) -> Result<(), MasterKeyError> {
    match fs::remove_file(next_path(path)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(path, source)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<Key>, MasterKeyError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(path, source)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let text = Zeroizing::new(fs::read(path).map_err(|source| io_error(path, source))?);
    let damaged = || MasterKeyError::Damaged {
        path: path.to_owned(),
    };
    let text = std::str::from_utf8(&text).map_err(|_| damaged())?;
    let digits = text.trim_end().strip_prefix(HEADER).ok_or_else(damaged)?;
    let bytes = Zeroizing::new(hex::decode(digits).map_err(|_| damaged())?);
    Ok(Some(Key::from_slice(&bytes).ok_or_else(damaged)?))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

fn io_error(path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing step fails the test")]
    use super::*;

    #[test]
    fn the_file_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(MasterKey::load_or_create(&path).unwrap().id(), first.id());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(!format!("{first:?}").contains(text.trim_end().strip_prefix(HEADER).unwrap()));
    }

    #[test]
    fn readable_and_damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        MasterKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            MasterKey::load_or_create(&path),
            Err(MasterKeyError::Mode { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for damage in [
            "",
            "nexus-master-key-1 ",
            "nexus-master-key-1 00ff",
            "\u{1}",
        ] {
            fs::write(&path, damage).unwrap();
            assert!(matches!(
                MasterKey::load_or_create(&path),
                Err(MasterKeyError::Damaged { .. })
            ));
        }
    }
}
