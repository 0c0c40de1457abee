//! The policy in force: kept across restarts, and changed only together with a record of the change.

use std::sync::{Arc, PoisonError};

use nexus_audit::{Event, EventKind};
use nexus_store::{Commit, Store, Table, landed, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::errors::{OpenError, SetPolicyError};
use crate::gate::{Gate, Inner};
use crate::policy::{Policy, PolicyVersion};
use crate::{PolicyError, Principal};

/// One row: the policy in force.
const POLICIES: Table = Table("policies");
const KEY: &str = "in-force";

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// It is part of the binary.
    Shipped,
    /// The operator's configuration names its file, which then is the one place to change it.
    File,
    /// It was handed in while the host ran.
    Set,
}

impl PolicySource {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::File => "file",
            Self::Set => "set",
        }
    }
}

/// A policy, and how it came into force.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Where it comes from.
    pub source: PolicySource,
    /// Counts the changes from 1.
    pub revision: u64,
    /// Who put it in force.
    pub principal: Principal,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
}

/// Another policy, and who wants it.
#[derive(Debug)]
pub struct PolicyChange {
    /// The policy.
    pub policy: Policy,
    /// Where it comes from.
    pub source: PolicySource,
    /// Who puts it in force.
    pub principal: Principal,
    /// The revision that it replaces; any, if there is none.
    pub replaces: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    format: u8,
    text: String,
    source: PolicySource,
    revision: u64,
    principal: Principal,
    time_ms: u64,
}

impl Row {
    fn of(in_force: &InForce) -> Self {
        Self {
            format: 1,
            text: in_force.policy.text().to_owned(),
            source: in_force.source,
            revision: in_force.revision,
            principal: in_force.principal.clone(),
            time_ms: in_force.time_ms,
        }
    }

    fn put(&self, commit: &mut Commit) -> Result<(), serde_json::Error> {
        commit.put(POLICIES, KEY, serde_json::to_vec(self)?);
        Ok(())
    }
}

/// Chooses the policy to start with. What was handed in while the host ran outlasts it, unless the
/// configuration names a file. A change since the last run is recorded like any other.
pub(crate) async fn at_start(
    store: &dyn Store,
    audit: &nexus_audit::Audit,
    given: Policy,
    source: PolicySource,
) -> Result<InForce, OpenError> {
    let failed = |error: &dyn std::fmt::Display| OpenError::Policy(error.to_string());
    let row = store
        .get(POLICIES, KEY.as_bytes())
        .await
        .map_err(|error| failed(&error))?;
    let row: Option<Row> = row
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()
        .map_err(|error| failed(&error))?;
    let kept = row
        .as_ref()
        .filter(|row| row.source == PolicySource::Set && source == PolicySource::Shipped);
    if let Some(row) = kept {
        return Ok(InForce {
            policy: Arc::new(Policy::parse(&row.text).map_err(|error| failed(&error))?),
            source: row.source,
            revision: row.revision,
            principal: row.principal.clone(),
            time_ms: row.time_ms,
        });
    }
    let in_force = InForce {
        policy: Arc::new(given),
        source,
        revision: row.as_ref().map_or(1, |row| row.revision + 1),
        principal: Principal::new("nexus"),
        time_ms: now_ms(),
    };
    match row {
        Some(row) if row.text == in_force.policy.text() && row.source == source => Ok(InForce {
            revision: row.revision,
            principal: row.principal,
            time_ms: row.time_ms,
            ..in_force
        }),
        row => {
            let mut commit = Commit::new();
            Row::of(&in_force)
                .put(&mut commit)
                .map_err(|error| failed(&error))?;
            // The first start of a host changes nothing that anybody relied on.
            if let Some(row) = row {
                let old = PolicyVersion::of(&row.text);
                tracing::warn!(
                    was = %old,
                    from = row.source.as_str(),
                    now = %in_force.policy.version(),
                    source = source.as_str(),
                    "another policy is in force than when the host last ran"
                );
                audit.append(&mut commit, changed(&in_force, Some(old)));
            }
            store.commit(commit).await.map_err(|error| failed(&error))?;
            Ok(in_force)
        }
    }
}

/// The record of a change.
fn changed(in_force: &InForce, old: Option<PolicyVersion>) -> Event {
    Event::new(EventKind::PolicySet)
        .principal(in_force.principal.as_str())
        .detail(json!({
            "old": old.map(|version| version.to_string()),
            "new": in_force.policy.version().to_string(),
            "revision": in_force.revision,
            "source": in_force.source.as_str(),
        }))
}

impl Gate {
    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.inner.policy()
    }

    /// The policy in force, and how it came to be.
    pub fn policy_in_force(&self) -> InForce {
        self.inner
            .policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another policy in force; when this returns, the change and its record are durable. Nothing
    /// that the old one permitted starts any more, and what is being asked under it is withdrawn.
    pub async fn set_policy(&self, change: PolicyChange) -> Result<InForce, SetPolicyError> {
        let gate = self.inner.clone();
        // On a task of its own: a change on its way to the disk takes effect though its client leaves.
        let set = self
            .inner
            .runtime
            .spawn(async move { gate.set_policy(change).await });
        set.await
            .unwrap_or_else(|error| Err(SetPolicyError::Unavailable(error.to_string())))
    }

    /// Records that a policy was refused, and why; the one in force stays.
    pub async fn refuse_policy(
        &self,
        source: PolicySource,
        principal: &Principal,
        why: &PolicyError,
    ) -> Result<(), SetPolicyError> {
        let mut why = why.to_string();
        why.truncate(why.floor_char_boundary(2_000));
        let event = Event::new(EventKind::PolicyRefused)
            .principal(principal.as_str())
            .outcome(why)
            .detail(json!({
                "stays": self.policy().version().to_string(),
                "source": source.as_str(),
            }));
        let written = self.inner.audit.write(event).await;
        written
            .map(drop)
            .map_err(|error| SetPolicyError::Unavailable(error.to_string()))
    }
}

impl Inner {
    async fn set_policy(self: Arc<Self>, change: PolicyChange) -> Result<InForce, SetPolicyError> {
        let unavailable =
            |error: &dyn std::fmt::Display| SetPolicyError::Unavailable(error.to_string());
        let _changing = self.changing.lock().await;
        let old = self
            .policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if old.source == PolicySource::File && change.source != PolicySource::File {
            return Err(SetPolicyError::FromFile);
        }
        if change
            .replaces
            .is_some_and(|revision| revision != old.revision)
        {
            return Err(SetPolicyError::Stale {
                revision: old.revision,
            });
        }
        if old.policy.text() == change.policy.text() && old.source == change.source {
            return Ok(old);
        }
        let in_force = InForce {
            policy: Arc::new(change.policy),
            source: change.source,
            revision: old.revision + 1,
            principal: change.principal,
            time_ms: now_ms(),
        };
        let mut commit = Commit::new();
        let row = serde_json::to_vec(&Row::of(&in_force)).map_err(|error| unavailable(&error))?;
        commit.put(POLICIES, KEY, row.clone());
        let event = changed(&in_force, Some(old.policy.version()));
        self.audit.append(&mut commit, event);
        let failed = self.store.commit(commit).await.err();
        if let Some(error) = &failed
            && !landed(&*self.store, error, POLICIES, KEY.as_bytes(), Some(&row)).await
        {
            return Err(unavailable(error));
        }
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = in_force.clone();
        // Who has looked at the old one is through before anybody hears that it is gone.
        drop(self.starting.write().await);
        if old.policy.version() != in_force.policy.version() {
            let live = self.book().ids();
            for id in live {
                self.withdraw(id, "the policy changed").await;
            }
        }
        failed.map_or(Ok(in_force), |error| Err(unavailable(&error)))
    }
}
