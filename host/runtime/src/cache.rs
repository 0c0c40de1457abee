//! Machine code on disk, authenticated: an artifact is loaded only if this host
//! wrote it, for this very component and this very engine.
#![allow(
    unsafe_code,
    reason = "loading machine code is unsafe by nature; this file alone does it, on bytes whose \
              authentication code it has just checked"
)]

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use nexus_manifest::Digest;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Stands first in every file; a change of format changes it.
const MAGIC: &[u8; 8] = b"NXART\0\0\x01";
const MAC_BYTES: usize = 32;

/// Machine code that this host made or authenticated. Nothing else is loaded.
#[derive(Clone)]
pub(crate) struct Artifact(Bytes);

impl Artifact {
    /// Takes what the host's own compiler has just produced.
    pub(crate) fn compiled(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// Maps the code into memory, for `engine`.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what this host's compiler produced: they come
        // either straight from it or from a file whose code, keyed with a
        // secret of this host, was verified over these very bytes in memory.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}

/// The artifacts of one data directory.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 64],
    fingerprint: [u8; 32],
}

impl Cache {
    /// Opens or creates the cache in `dir`, whose key only the host's user can
    /// read. Artifacts of other engines, which nothing can load, are removed.
    pub(crate) fn open(dir: PathBuf, fingerprint: [u8; 32]) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let key = load_or_create_key(&dir.join("key"))?;
        let cache = Self {
            dir,
            key,
            fingerprint,
        };
        let suffix = cache.suffix();
        for entry in fs::read_dir(&cache.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != "key" && !name.to_string_lossy().ends_with(&suffix) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(cache)
    }

    /// The artifact of the component with this code, if there is one and it is
    /// whole. A file that fails authentication is removed and not loaded.
    pub(crate) fn get(&self, code: &Digest) -> Option<Artifact> {
        let path = self.path(code);
        let bytes = fs::read(&path).ok()?;
        let artifact = self.open_sealed(code, bytes.into());
        if artifact.is_none() {
            tracing::warn!(component = %code, "an artifact failed authentication; compiling again");
            // If it can't be removed, the next write replaces it.
            let _ = fs::remove_file(&path);
        }
        artifact
    }

    /// Whether there is an artifact for this code. Says nothing about its content.
    pub(crate) fn contains(&self, code: &Digest) -> bool {
        self.path(code).is_file()
    }

    /// Keeps an artifact. It is there as a whole or not at all.
    pub(crate) fn put(&self, code: &Digest, artifact: &Artifact) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .suffix(&self.suffix())
            .tempfile_in(&self.dir)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.mac(code, &artifact.0).finalize().into_bytes())?;
        file.write_all(&artifact.0)?;
        // No sync: a file torn by a power cut fails authentication and is
        // compiled again.
        file.persist(self.path(code))?;
        Ok(())
    }

    /// Forgets an artifact that no generation needs any more.
    pub(crate) fn remove(&self, code: &Digest) {
        // Nothing depends on the removal.
        let _ = fs::remove_file(self.path(code));
    }

    fn open_sealed(&self, code: &Digest, bytes: Bytes) -> Option<Artifact> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (mac, artifact) = rest.split_at_checked(MAC_BYTES)?;
        self.mac(code, artifact).verify_slice(mac).ok()?;
        // The very bytes that were checked, without a copy of them.
        Some(Artifact(bytes.slice_ref(artifact)))
    }

    /// Binds the bytes to the component and the engine, so that no artifact can
    /// be put in another's place.
    fn mac(&self, code: &Digest, artifact: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.key.into());
        mac.update(MAGIC);
        mac.update(code.as_bytes());
        mac.update(&self.fingerprint);
        mac.update(artifact);
        mac
    }

    fn path(&self, code: &Digest) -> PathBuf {
        self.dir.join(format!("{}{}", code.to_hex(), self.suffix()))
    }

    fn suffix(&self) -> String {
        format!(".{}.art", hex::encode(&self.fingerprint[..8]))
    }
}

/// Reads a 64-byte key, or makes one that only this user can read.
pub(crate) fn load_or_create_key(path: &Path) -> io::Result<[u8; 64]> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is damaged; remove it, artifacts are then compiled again",
                    path.display()
                ),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 64];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            let temporary = path.with_extension("new");
            // Left behind by a host that died in between.
            let _ = fs::remove_file(&temporary);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&key)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}
