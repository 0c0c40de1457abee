//! The key that wraps all others.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::cipher::{Key, wiping};
use crate::error::{Error, MasterKeyError};
use crate::kdf::{Kdf, MIN_PASSPHRASE};

const HEADER: &str = "nexus-master-key-1 ";
const TEMPORARY: &str = ".new";

/// Is told of each step that a crash could come after.
pub(crate) type Step<'a> = &'a (dyn Fn(&'static str) + Send + Sync);

/// The master key, or what it follows from. Its `Debug` shows its id only.
///
/// Losing it loses every secret, but for the recovery copy; whoever has it and the store has every
/// secret.
pub struct MasterKey(pub(crate) Source);

pub(crate) enum Source {
    /// From elsewhere, such as a command or the environment.
    Given(Key),
    File {
        path: PathBuf,
        key: Key,
        /// The key of a rotation that was under way when the host died.
        next: Option<Key>,
    },
    Passphrase(SecretString),
}

impl MasterKey {
    /// Reads the key from `path`, or makes a new one there with mode 0600.
    ///
    /// The file appears complete or not at all, and is never overwritten: of two hosts that start
    /// at once, both get the same key. A file that others can read is refused.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, MasterKeyError> {
        let path = path.as_ref();
        if read(path)?.is_none() {
            let key = Key::generate().map_err(|e| MasterKeyError::Random(e.to_string()))?;
            // Another host may be first; what the file says holds.
            create(path, &key, &|_| {})?;
        }
        Self::load(path)
    }

    /// Reads the key from `path`. A file that others can read is refused.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, MasterKeyError> {
        let path = path.as_ref();
        let next = read(&next_path(path))?;
        let key = read(path)?.ok_or_else(|| MasterKeyError::Missing {
            path: path.to_owned(),
        })?;
        Ok(Self(Source::File {
            path: path.to_owned(),
            key,
            next,
        }))
    }

    /// A key from elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let key = Key::filled::<std::convert::Infallible>(|key| {
            key.copy_from_slice(&*bytes);
            Ok(())
        });
        let Ok(key) = key;
        Self(Source::Given(key))
    }

    /// A key from elsewhere, as text: 64 hexadecimal digits, or a line of a key file.
    pub fn from_text(text: &SecretString) -> Result<Self, MasterKeyError> {
        parse(text.expose_secret())
            .map(|key| Self(Source::Given(key)))
            .ok_or(MasterKeyError::NoKey)
    }

    /// A key that follows from a passphrase, by Argon2id, with parameters that the vault keeps.
    pub fn from_passphrase(passphrase: SecretString) -> Self {
        Self(Source::Passphrase(passphrase))
    }

    /// A short name of the key, which tells nothing about it. A passphrase has none before the vault
    /// is opened.
    pub fn id(&self) -> String {
        match &self.0 {
            Source::Given(key) | Source::File { key, .. } => id(key),
            Source::Passphrase(_) => "of a passphrase".to_owned(),
        }
    }

    /// Wipes the lesser source of the two that are left of an interrupted rotation, and what half-made
    /// key files there are. For the holder of the store alone: no other host is at work.
    pub(crate) fn settle(&self, key_id: &str, kdf: Option<&Kdf>) -> Result<Opened, Error> {
        let found = self.id();
        match &self.0 {
            Source::Given(key) if id(key) == key_id => Ok(Opened {
                key: key.clone(),
                keeper: Keeper::Elsewhere,
            }),
            Source::File { path, key, next } => {
                let key = if id(key) == key_id {
                    discard(path)?;
                    key
                } else if let Some(next) = next.as_ref().filter(|next| id(next) == key_id) {
                    promote(path)?;
                    next
                } else {
                    return Err(wrong(key_id, found));
                };
                sweep(path);
                Ok(Opened {
                    key: key.clone(),
                    keeper: Keeper::File(path.clone()),
                })
            }
            Source::Passphrase(passphrase) => {
                let Some(kdf) = kdf else {
                    return Err(wrong(key_id, found));
                };
                let key = kdf.derive(passphrase)?;
                if id(&key) != key_id {
                    return Err(Error::WrongPassphrase);
                }
                Ok(Opened {
                    key,
                    keeper: Keeper::Passphrase(passphrase.clone()),
                })
            }
            Source::Given(_) => Err(wrong(key_id, found)),
        }
    }

    /// The key for a vault that is not sealed with it yet.
    pub(crate) fn fresh(self) -> Result<(Opened, Option<Kdf>), Error> {
        Ok(match self.0 {
            Source::Given(key) => (
                Opened {
                    key,
                    keeper: Keeper::Elsewhere,
                },
                None,
            ),
            Source::File { path, key, .. } => (
                Opened {
                    key,
                    keeper: Keeper::File(path),
                },
                None,
            ),
            Source::Passphrase(passphrase) => {
                if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE {
                    return Err(Error::ShortPassphrase);
                }
                let kdf = Kdf::new()?;
                let key = kdf.derive(&passphrase)?;
                (
                    Opened {
                        key,
                        keeper: Keeper::Passphrase(passphrase),
                    },
                    Some(kdf),
                )
            }
        })
    }
}

/// The key in use, and where it is kept.
pub(crate) struct Opened {
    pub(crate) key: Key,
    pub(crate) keeper: Keeper,
}

/// Where the key is kept, which says how it can be replaced.
#[derive(Clone)]
pub(crate) enum Keeper {
    Elsewhere,
    File(PathBuf),
    Passphrase(SecretString),
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

fn wrong(expected: &str, found: String) -> Error {
    Error::WrongMasterKey {
        expected: expected.to_owned(),
        found,
    }
}

/// The first 64 bits of a hash of the key: a random key can't be guessed from it, and one made of a
/// passphrase only by who could try the passphrase on the vault itself.
pub(crate) fn id(key: &Key) -> String {
    let hash = wiping(|| {
        Sha256::new()
            .chain_update(b"nexus-vault key id\0")
            .chain_update(key.as_bytes())
            .finalize()
    });
    hex::encode(&hash[..8])
}

/// Where the coming key waits until the rows are wrapped with it.
pub(crate) fn next_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

/// Makes `path` with the key, 0600. An existing file is left as it is. `step` is told of each step.
pub(crate) fn create(path: &Path, key: &Key, step: Step<'_>) -> Result<(), MasterKeyError> {
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|e| MasterKeyError::Random(e.to_string()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}{TEMPORARY}", hex::encode(suffix)));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let text = Zeroizing::new(format!("{HEADER}{}\n", hex::encode(key.as_bytes())));
        file.write_all(text.as_bytes())?;
        step("key written");
        file.sync_all()?;
        // A link, unlike a rename, does not replace a key that is already there.
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    })();
    step("key linked");
    let removed = fs::remove_file(&temporary);
    written
        .and(removed)
        .and_then(|()| sync_parent(path))
        .map_err(|source| io_error(path, source))
}

/// Removes what is left of key files that were never finished.
fn sweep(path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let name = name.to_string_lossy().into_owned();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found.starts_with(&format!("{name}.")) && found.ends_with(TEMPORARY) {
            // A copy of a key that lies about is a pity, not a reason to stop.
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(%error, file = %found, "an unfinished key file could not be removed");
            }
        }
    }
}

/// Puts the key waiting in `path.next` in the place of `path`.
pub(crate) fn promote(path: &Path) -> Result<(), MasterKeyError> {
    fs::rename(next_path(path), path)
        .and_then(|()| sync_parent(path))
        .map_err(|source| io_error(path, source))
}

/// Makes room for a coming key: one that waits and is already in use is put in its place first.
pub(crate) fn make_room(path: &Path, current: &Key) -> Result<(), MasterKeyError> {
    match read(&next_path(path))? {
        Some(next) if id(&next) == id(current) => promote(path),
        _ => discard(path),
    }
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
    if !text.starts_with(HEADER) {
        return Err(damaged());
    }
    parse(text).map(Some).ok_or_else(damaged)
}

/// 64 hexadecimal digits, with or without the header of a key file.
fn parse(text: &str) -> Option<Key> {
    let text = text.trim_end_matches(['\r', '\n', ' ']);
    let digits = text.strip_prefix(HEADER).unwrap_or(text);
    let bytes = Zeroizing::new(hex::decode(digits).ok()?);
    Key::from_slice(&bytes)
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
