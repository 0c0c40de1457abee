//! What the forge keeps: where components came from, what was forged, and
//! whether forged agents go live.

use std::time::Duration;

use nexus_audit::{Audit, Event, EventKind};
use nexus_gate::Principal;
use nexus_manifest::{AgentName, Digest};
use nexus_store::{Commit, CommitError, ReadError, Scan, Store, Table, now_ms};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::build::BuiltBy;

/// Settings of the forge.
pub const FORGE: Table = Table("forge");
/// What was forged, by time.
pub const FORGED: Table = Table("forged");
/// Where components came from, by their digest.
pub const LINEAGE: Table = Table("lineage");

const HOT_RELOAD: &[u8] = b"hot-reload";

/// Where a component came from: enough to build it again and compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// `template`, `source` or `model`.
    pub mode: String,
    /// Of the words. They themselves are not kept.
    pub prompt_digest: Digest,
    /// The model that wrote the source, as the endpoint calls it.
    pub model: Option<String>,
    /// The template that the source is.
    pub template: Option<String>,
    /// The permissions and schemas that were asked for, as JSON text.
    pub spec: String,
    /// `src/lib.rs`, complete.
    pub source: String,
    /// `agent.toml`, complete.
    pub manifest: String,
    /// The compiler's own version text.
    pub toolchain: String,
    /// The compiler's flags.
    pub flags: Vec<String>,
    /// Who ran the compiler.
    #[serde(default)]
    pub builder: BuiltBy,
    /// The host that ran it, if it was another one.
    #[serde(default)]
    pub build_host: Option<String>,
    /// Of the component that came out.
    pub component: Digest,
    /// When it was built, in milliseconds since the epoch.
    pub created_ms: u64,
}

/// Names one forge and the component that came of it; those that began later are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ForgeId(Uuid);

impl ForgeId {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "every id is another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a key whose order is that of time.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads what [`as_bytes`](Self::as_bytes) gave.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }
}

impl std::fmt::Display for ForgeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<ForgeId> for String {
    fn from(id: ForgeId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ForgeId {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        text.parse()
    }
}

impl std::str::FromStr for ForgeId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// One component that this host has forged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forged {
    /// The forge's id.
    pub id: ForgeId,
    /// The agent.
    pub agent: AgentName,
    /// What became of it.
    pub state: ForgedState,
    /// `template`, `source` or `model`.
    pub mode: String,
    /// Of the component.
    pub component: Digest,
    /// When it was forged, in milliseconds since the epoch.
    pub created_ms: u64,
    /// How long the forge took, waiting for people left out.
    pub duration: Duration,
    /// Who had it forged.
    pub principal: Principal,
}

/// What became of a forged component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgedState {
    /// It was published.
    Published,
    /// It waits for a person.
    Review,
    /// It is built and kept, and hot reload was off.
    Held,
    /// A person said no, nobody answered, the forge was cancelled, or the host restarted meanwhile.
    Refused,
}

/// Whether forged agents go live by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotReload {
    /// Whether they do.
    pub enabled: bool,
    /// When it was last switched, in milliseconds since the epoch.
    pub updated_ms: Option<u64>,
    /// Who switched it last.
    pub principal: Option<Principal>,
}

impl Default for HotReload {
    /// On, and never switched.
    fn default() -> Self {
        Self {
            enabled: true,
            updated_ms: None,
            principal: None,
        }
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The store could not be read.
    #[error("read the forge's records")]
    Read(#[source] ReadError),
    /// The record is not what this version writes.
    #[error("read a record of the forge in table {table}")]
    Malformed {
        /// Where it is.
        table: Table,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

pub(crate) async fn lineage(
    store: &dyn Store,
    component: &Digest,
) -> Result<Option<Lineage>, RecordError> {
    get(store, LINEAGE, component.as_bytes()).await
}

pub(crate) async fn hot_reload(store: &dyn Store) -> Result<HotReload, RecordError> {
    Ok(get(store, FORGE, HOT_RELOAD).await?.unwrap_or_default())
}

/// Switches; durable, with its audit record, when it returns.
pub(crate) async fn set_hot_reload(
    store: &dyn Store,
    audit: &Audit,
    enabled: bool,
    principal: &Principal,
) -> Result<HotReload, CommitError> {
    let switched = HotReload {
        enabled,
        updated_ms: Some(now_ms()),
        principal: Some(principal.clone()),
    };
    let mut commit = Commit::new();
    put(&mut commit, FORGE, HOT_RELOAD, &switched);
    let event = Event::new(EventKind::HotReloadSet)
        .principal(principal.as_str())
        .outcome(if enabled { "enabled" } else { "disabled" });
    audit.append(&mut commit, event);
    store.commit(commit).await?;
    Ok(switched)
}

pub(crate) async fn list(
    store: &dyn Store,
    after: Option<ForgeId>,
    limit: usize,
) -> Result<Vec<Forged>, RecordError> {
    let scan = Scan {
        after: after.map(|id| id.0.as_bytes().to_vec()),
        limit,
        reverse: true,
        ..Scan::default()
    };
    let rows = store.scan(FORGED, scan).await.map_err(RecordError::Read)?;
    rows.iter().map(|(_, row)| decode(FORGED, row)).collect()
}

pub(crate) fn put_forged(commit: &mut Commit, forged: &Forged) {
    put(commit, FORGED, forged.id.0.as_bytes(), forged);
}

pub(crate) fn put_lineage(commit: &mut Commit, lineage: &Lineage) {
    put(commit, LINEAGE, lineage.component.as_bytes(), lineage);
}

fn put(commit: &mut Commit, table: Table, key: &[u8], record: &impl Serialize) {
    match serde_json::to_vec(record) {
        Ok(bytes) => {
            commit.put(table, key, bytes);
        }
        // Plain structs of texts and numbers always have a JSON form.
        Err(error) => tracing::error!(%error, %table, "a record can't be written"),
    }
}

async fn get<T: DeserializeOwned>(
    store: &dyn Store,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, RecordError> {
    let found = store.get(table, key).await.map_err(RecordError::Read)?;
    found.map(|bytes| decode(table, &bytes)).transpose()
}

fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(bytes).map_err(|source| RecordError::Malformed { table, source })
}
