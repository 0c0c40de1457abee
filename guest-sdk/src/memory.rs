//! Durable key-value spaces, such as the knowledge base `kb-08`. Nothing else outlives an invocation.
//!
//! ```no_run
//! use nexus_agent::prelude::*;
//!
//! # fn invoke() -> Result<()> {
//! let space = memory::space("kb-08")?;
//! space.put_json("price/ETH", &json!({ "usd": 3150.25 }))?;
//! for entry in space.scan("price/") {
//!     let entry = entry?;
//!     log::info!("{} at revision {}", entry.key, entry.revision);
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::nexus::agent::memory as wit;
use crate::bindings::nexus::agent::types::Access;
use crate::{Error, Result};

/// Entries fetched by one call of the host while scanning.
const PAGE: u32 = 200;

/// An open space. Keys sort by their bytes.
#[derive(Debug)]
pub struct Space {
    handle: wit::Space,
}

/// A key, its value, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value as it was put.
    pub value: Vec<u8>,
    /// Grows with every write to the space and is never used again.
    pub revision: u64,
}

/// The entries of a space, page after page: see [`Space::scan`].
#[derive(Debug)]
pub struct Scan<'a> {
    space: &'a Space,
    prefix: String,
    page: VecDeque<Entry>,
    after: Option<String>,
    done: bool,
}

/// Opens a space for reading and writing. Refused unless the manifest lists it as `read-write`.
pub fn space(name: impl AsRef<str>) -> Result<Space> {
    Ok(Space {
        handle: wit::Space::open(name.as_ref(), Access::ReadWrite)?,
    })
}

/// Opens a space for reading. Refused unless the manifest lists it.
pub fn read_only(name: impl AsRef<str>) -> Result<Space> {
    Ok(Space {
        handle: wit::Space::open(name.as_ref(), Access::Read)?,
    })
}

impl Space {
    /// The entry at `key`, if there is one.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Entry>> {
        Ok(self.handle.get(key.as_ref())?.map(Entry::from))
    }

    /// The value at `key` read as JSON, if there is one.
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        self.get(key)?.map(|entry| entry.json()).transpose()
    }

    /// The value at `key` as text, if there is one.
    pub fn get_text(&self, key: impl AsRef<str>) -> Result<Option<String>> {
        self.get(key)?.map(|entry| entry.text()).transpose()
    }

    /// Writes a text or bytes at `key`, whatever was there, and returns the new revision.
    pub fn put(&self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Result<u64> {
        Ok(self.handle.put(key.as_ref(), value.as_ref())?)
    }

    /// Writes a value as JSON at `key`, whatever was there, and returns the new revision.
    pub fn put_json<T: Serialize + ?Sized>(&self, key: impl AsRef<str>, value: &T) -> Result<u64> {
        let key = key.as_ref();
        let value = serde_json::to_vec(value).map_err(|error| Error::json(key, &error))?;
        self.put(key, value)
    }

    /// Writes only if the key is still at `revision`, with `None` for a key that must not exist yet.
    /// Returns the new revision, or `None` if somebody else was faster and nothing was written.
    pub fn put_if(
        &self,
        key: impl AsRef<str>,
        value: impl AsRef<[u8]>,
        revision: Option<u64>,
    ) -> Result<Option<u64>> {
        Ok(self.handle.put_if(key.as_ref(), value.as_ref(), revision)?)
    }

    /// Removes the entry at `key`.
    pub fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        Ok(self.handle.delete(key.as_ref())?)
    }

    /// All entries whose key begins with `prefix`, in the order of their keys; `""` for all of the space.
    /// Fetches page after page as it goes; what is written meanwhile may or may not be seen.
    pub fn scan(&self, prefix: impl Into<String>) -> Scan<'_> {
        Scan {
            space: self,
            prefix: prefix.into(),
            page: VecDeque::new(),
            after: None,
            done: false,
        }
    }
}

impl Entry {
    /// The value read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.value)
            .map_err(|error| Error::json(format_args!("entry {:?}", self.key), &error))
    }

    /// The value as text; [`Error::Invalid`] if it is not UTF-8.
    pub fn text(&self) -> Result<String> {
        String::from_utf8(self.value.clone())
            .map_err(|error| Error::Invalid(format!("entry {:?} is not text: {error}", self.key)))
    }
}

impl From<wit::Entry> for Entry {
    fn from(entry: wit::Entry) -> Self {
        Entry {
            key: entry.key,
            value: entry.value,
            revision: entry.revision,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        // The host may answer with an empty page and more to come, where entries are large.
        while self.page.is_empty() && !self.done {
            match self
                .space
                .handle
                .scan(&self.prefix, self.after.as_deref(), PAGE)
            {
                Ok(page) => {
                    self.page = page.entries.into_iter().map(Entry::from).collect();
                    self.done = page.next.is_none();
                    self.after = page.next;
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error.into()));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}
