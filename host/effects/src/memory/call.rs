//! What can be asked of a space, and the action that asks it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use nexus_gate::{Action, ActionKind, Context, EffectClass, Label, Payload};
use nexus_manifest::SpaceName;
use serde_json::json;

use crate::Error;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// The largest value, in bytes.
pub const MAX_VALUE: usize = 1024 * 1024;
/// The most entries of a scan.
pub const MAX_SCAN: u32 = 1_000;

/// A key in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub(super) space: SpaceName,
    pub(super) key: String,
}

/// A range of keys in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub(super) space: SpaceName,
    pub(super) prefix: String,
    pub(super) after: Option<String>,
    pub(super) limit: u32,
}

/// A call, complete: what a permit is asked for and what it is spent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Reads one entry.
    Get(Key),
    /// Reads entries in the order of their keys.
    Scan(Range),
    /// Writes an entry.
    Put(Key, Bytes),
    /// Writes an entry that is at this revision, or absent.
    PutIf(Key, Bytes, Option<u64>),
    /// Removes an entry, if it is there.
    Delete(Key),
}

impl Key {
    /// A key of 1 to [`MAX_KEY`] bytes.
    pub fn new(space: SpaceName, key: impl Into<String>) -> Result<Self, Error> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Error::Invalid(format!("a key has 1 to {MAX_KEY} bytes")));
        }
        Ok(Self { space, key })
    }

    /// The space.
    pub fn space(&self) -> &SpaceName {
        &self.space
    }

    /// The key within the space.
    pub fn as_str(&self) -> &str {
        &self.key
    }
}

impl Range {
    /// Keys that begin with `prefix` and come after `after`; 1 to [`MAX_SCAN`] of them.
    pub fn new(
        space: SpaceName,
        prefix: impl Into<String>,
        after: Option<String>,
        limit: u32,
    ) -> Result<Self, Error> {
        let prefix = prefix.into();
        if limit == 0 || limit > MAX_SCAN {
            return Err(Error::Invalid(format!(
                "a scan has a limit of 1 to {MAX_SCAN}"
            )));
        }
        if prefix.len() > MAX_KEY || after.as_ref().is_some_and(|after| after.len() > MAX_KEY) {
            return Err(Error::Invalid(format!("a key has at most {MAX_KEY} bytes")));
        }
        Ok(Self {
            space,
            prefix,
            after,
            limit,
        })
    }

    /// The space.
    pub fn space(&self) -> &SpaceName {
        &self.space
    }
}

impl Call {
    /// What is asked, in one word.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::Scan(_) => "scan",
            Self::Put(..) => "put",
            Self::PutIf(..) => "put-if",
            Self::Delete(_) => "delete",
        }
    }

    /// The space.
    pub fn space(&self) -> &SpaceName {
        match self {
            Self::Get(key) | Self::Put(key, _) | Self::PutIf(key, ..) | Self::Delete(key) => {
                &key.space
            }
            Self::Scan(range) => &range.space,
        }
    }

    /// `SPACE/KEY`, or the space.
    pub fn target(&self) -> String {
        match self {
            Self::Get(key) | Self::Put(key, _) | Self::PutIf(key, ..) | Self::Delete(key) => {
                format!("{}/{}", key.space, key.key)
            }
            Self::Scan(range) => range.space.to_string(),
        }
    }

    /// Everything that is not in verb and target.
    pub fn payload(&self) -> Payload {
        const BYTES: &str = "application/octet-stream";
        match self {
            Self::Get(_) | Self::Delete(_) => Payload::new(json!({})),
            Self::Scan(range) => Payload::new(json!({
                "prefix": range.prefix, "after": range.after, "limit": range.limit,
            })),
            Self::Put(_, value) => Payload::new(json!({})).with_part("value", BYTES, value.clone()),
            Self::PutIf(_, value, revision) => {
                // A string: revisions may outgrow what every JSON reader keeps exact.
                let revision = revision.map(|revision| revision.to_string());
                Payload::new(json!({ "revision": revision })).with_part(
                    "value",
                    BYTES,
                    value.clone(),
                )
            }
        }
    }

    /// The action, as it is given to the gate.
    pub fn action(&self, context: Arc<Context>, sequence: u64, labels: BTreeSet<Label>) -> Action {
        Action {
            kind: ActionKind::Effect,
            context,
            sequence,
            capability: "memory",
            verb: self.verb().to_owned(),
            target: self.target(),
            class: match self {
                Self::Get(_) | Self::Scan(_) => EffectClass::Read,
                _ => EffectClass::Internal,
            },
            labels,
            payload: self.payload(),
        }
    }
}

/// Refuses a value that is too large.
pub(super) fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return Err(Error::Invalid(format!(
            "a value has at most {MAX_VALUE} bytes"
        )));
    }
    Ok(())
}
