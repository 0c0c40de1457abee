//! Changes of agents: each is one durable commit, then one pointer.

use std::sync::Arc;

use bytes::Bytes;
use nexus_audit::{Event, EventKind};
use nexus_gate::{Introductions, Payload, Permit, Principal, StartError, kind};
use nexus_manifest::{AgentName, Digest, PermissionDiff};
use nexus_store::{
    BlobError, BlobId, Commit, CommitError, ReadError, Scan, landed, now_ms, to_the_end,
};

use crate::generation::Generation;
use crate::prepare::{PrepareError, Prepared, blocking};
use crate::registry::{
    AGENTS, AgentRow, Change, GENERATIONS, GenerationInfo, generation_key, generation_prefix,
};
use crate::runtime::{Runtime, Services};
use crate::succession::{agreed, reviewed};

/// Who publishes a component, and where it came from.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Who owns the agent from now on.
    pub owner: Principal,
    /// Where it came from: prompt, source, toolchain. Kept with the generation.
    pub lineage: Option<serde_json::Value>,
    /// Whether a person agreed that another owner's agent is replaced.
    pub take_over: bool,
    /// Whether a person has reviewed what the manifest asks for. Someone who was
    /// asked for an approval has.
    pub reviewed: bool,
    /// What is written in the commit that makes the component the current generation.
    pub beside: Commit,
}

impl Publish {
    /// A publication by `owner`, without lineage.
    pub fn by(owner: Principal) -> Self {
        Self {
            owner,
            lineage: None,
            take_over: false,
            reviewed: false,
            beside: Commit::new(),
        }
    }
}

/// Why an agent was not changed. It answers as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The name belongs to somebody else.
    #[error("the agent `{agent}` belongs to {owner}; replacing it needs a person's approval")]
    OwnedByAnother {
        /// The agent.
        agent: AgentName,
        /// Its owner.
        owner: Principal,
    },
    /// It would allow more than the live generation, and no person was shown how.
    #[error(
        "the agent `{0}` would be allowed more than its live generation, and no person has agreed to \
         that; the agent may have changed since it was reviewed"
    )]
    Widens(AgentName),
    /// There is no such agent.
    #[error("there is no agent `{0}`")]
    UnknownAgent(AgentName),
    /// There is no such generation of the agent any more.
    #[error("the agent `{agent}` has no generation {number} to go back to")]
    UnknownGeneration {
        /// The agent.
        agent: AgentName,
        /// The number asked for.
        number: u64,
    },
    /// The component could not be kept.
    #[error("keep the component")]
    Blob(#[source] BlobError),
    /// The generation could not be loaded again.
    #[error("load the generation again")]
    Load(#[source] Box<PrepareError>),
    /// The agents can't be read.
    #[error("read the agents")]
    Read(#[source] ReadError),
    /// A row of the registry is damaged.
    #[error("the registry's row of `{0}` is damaged")]
    Damaged(AgentName),
    /// The change could not be recorded.
    #[error("record the change")]
    Commit(#[source] CommitError),
    /// The emergency lock is engaged.
    #[error(transparent)]
    Locked(nexus_gate::Locked),
    /// The permit could not be spent.
    #[error("spend the permit to publish")]
    NotPermitted(#[source] nexus_gate::StartError),
    /// The permit is for another component.
    #[error("the permit is for another component")]
    OtherComponent,
}

impl Runtime {
    /// The agent's current generation.
    pub fn get(&self, agent: &AgentName) -> Option<Arc<Generation>> {
        self.0.registry.agent(agent).map(|agent| agent.current())
    }

    /// The current generation of every agent, by name.
    pub fn list(&self) -> Vec<Arc<Generation>> {
        self.0.registry.all()
    }

    /// Agents whose current generation could not be loaded at the start, and
    /// why. They don't answer until they are published or rolled back.
    pub fn broken(&self) -> Vec<(AgentName, String)> {
        self.0.registry.broken()
    }

    /// The kept generations of an agent, the newest first.
    pub async fn generations(&self, agent: &AgentName) -> Result<Vec<GenerationInfo>, ReadError> {
        let mut scan = Scan::prefix(generation_prefix(agent));
        scan.reverse = true;
        let rows = self.0.services.store.scan(GENERATIONS, scan).await?;
        Ok(rows
            .iter()
            .filter_map(|(_, row)| serde_json::from_slice(row).ok())
            .collect())
    }

    /// The component of a kept generation, as it was published.
    pub async fn component(&self, digest: &Digest) -> Result<Bytes, BlobError> {
        let (runtime, digest) = (self.clone(), *digest);
        blocking(move || {
            runtime
                .0
                .services
                .blobs
                .get(&BlobId::from(digest.as_bytes()))
        })
        .await
        .map(Bytes::from)
    }

    /// Lets a prepared component answer from now on. Goes to its end though the caller leaves, like
    /// every change of an agent.
    ///
    /// When this returns, the registry's row and the audit record are durable
    /// and every invocation that begins gets this generation. Those that began
    /// before end on theirs.
    pub async fn publish(
        &self,
        prepared: Prepared,
        publish: Publish,
    ) -> Result<Arc<Generation>, PublishError> {
        self.publish_in(prepared, publish, None).await
    }

    /// Publishes, and spends a permit in the same commit if there is one.
    pub(crate) async fn publish_in(
        &self,
        prepared: Prepared,
        publish: Publish,
        permit: Option<(Permit<kind::Publish>, &Payload)>,
    ) -> Result<Arc<Generation>, PublishError> {
        let permit = permit.map(|(permit, payload)| (permit, payload.clone()));
        let runtime = self.clone();
        to_the_end(async move { runtime.publish_now(prepared, publish, permit).await })
            .await
            .map_err(PublishError::Commit)?
    }

    async fn publish_now(
        &self,
        prepared: Prepared,
        publish: Publish,
        permit: Option<(Permit<kind::Publish>, Payload)>,
    ) -> Result<Arc<Generation>, PublishError> {
        let name = prepared.agent().clone();
        let _changing = self.0.registry.changing.lock().await;
        self.put_component(&prepared).await?;
        let row = self.row(&name).await?;
        if let Some((_, AgentRow { owner, .. })) = &row
            && *owner != publish.owner
            && !publish.take_over
            && !permit
                .as_ref()
                .is_some_and(|(permit, payload)| agreed(permit, payload, owner))
        {
            return Err(PublishError::OwnedByAnother {
                agent: name,
                owner: owner.clone(),
            });
        }
        if let Some((permit, payload)) = &permit {
            let (live, asked) = (self.get(&name), &prepared.manifest.permissions);
            if !reviewed(permit, payload, live.as_deref(), row.is_some(), asked) {
                return Err(PublishError::Widens(name));
            }
        }
        let number = row.as_ref().map_or(1, |(_, row)| row.next);
        let generation = Arc::new(Generation {
            number,
            digest: prepared.digest,
            manifest: prepared.manifest,
            owner: publish.owner.clone(),
            created_ms: now_ms(),
            lineage: publish.lineage,
            reviewed: publish.reviewed,
            loaded: prepared.loaded,
        });
        let info = GenerationInfo {
            agent: name.clone(),
            number,
            digest: generation.digest,
            code: generation.loaded.code,
            permissions: generation.permissions_digest(),
            version: generation.manifest.version.clone(),
            owner: publish.owner.clone(),
            created_ms: generation.created_ms,
            lineage: generation.lineage.clone(),
            reviewed: publish.reviewed,
        };
        let mut commit = publish.beside;
        expect(&mut commit, &name, row.as_ref());
        let next = AgentRow {
            current: number,
            next: number + 1,
            owner: publish.owner.clone(),
        };
        commit.put(AGENTS, name.as_str(), encode(&next));
        commit.put(GENERATIONS, generation_key(&name, number), encode(&info));
        let dropped = self.prune(&mut commit, &name, number).await?;
        let event = Event::new(EventKind::GenerationPublished)
            .principal(publish.owner.as_str())
            .agent(name.clone())
            .component(generation.digest)
            .detail(serde_json::json!({
                "generation": number,
                "permissions": info.permissions.to_string(),
                "previous": row.as_ref().map(|(_, row)| row.current),
            }));
        self.0.services.audit.append(&mut commit, event);
        let gate = &self.0.services.gate;
        let taken_over = row
            .as_ref()
            .is_some_and(|(_, row)| row.owner != publish.owner);
        if taken_over {
            gate.void_grants(&mut commit, &name, "its agent has another owner");
        }
        let introductions = match publish.reviewed {
            true => gate.introduce(&mut commit, &name, generation.digest, &generation.manifest),
            false => Introductions::default(),
        };
        let done = match permit {
            Some((permit, payload)) => permit
                .commit(&payload, commit)
                .await
                .map(drop)
                .map_err(PublishError::NotPermitted),
            None => {
                let Services { store, gate, .. } = &*self.0.services;
                let _pass = gate.lock().enter().map_err(PublishError::Locked)?;
                let committed = store.commit(commit).await;
                committed.map(drop).map_err(PublishError::Commit)
            }
        };
        let done = self.unless_landed(done, &name, Some(&next)).await?;

        self.0.services.gate.introduced(introductions);
        if taken_over {
            self.0.services.gate.grants_voided(&name);
        }
        self.serve(Arc::clone(&generation));
        self.0.registry.tell(name, Change::Published(number));
        self.collect(dropped).await;
        done.map(|()| generation)
    }

    /// Lets an earlier generation answer again. Numbers are never used twice: the next publication
    /// counts on from the highest. If it may do more than the live one, that takes the permit of a
    /// person who was shown what.
    pub async fn rollback(
        &self,
        agent: &AgentName,
        number: u64,
        principal: &Principal,
        permit: Option<(Permit<kind::Publish>, &Payload)>,
    ) -> Result<Arc<Generation>, PublishError> {
        let permit = permit.map(|(permit, payload)| (permit, payload.clone()));
        let (runtime, agent, principal) = (self.clone(), agent.clone(), principal.clone());
        to_the_end(async move {
            runtime
                .rollback_now(&agent, number, &principal, permit)
                .await
        })
        .await
        .map_err(PublishError::Commit)?
    }

    async fn rollback_now(
        &self,
        agent: &AgentName,
        number: u64,
        principal: &Principal,
        permit: Option<(Permit<kind::Publish>, Payload)>,
    ) -> Result<Arc<Generation>, PublishError> {
        let _changing = self.0.registry.changing.lock().await;
        let Some((bytes, row)) = self.row(agent).await? else {
            return Err(PublishError::UnknownAgent(agent.clone()));
        };
        let generation = self.kept_generation(agent, number).await?;
        let (live, asked) = (self.get(agent), &generation.manifest.permissions);
        let allowed = match &permit {
            Some((permit, payload)) => {
                permit.action().context.component == generation.digest
                    && reviewed(permit, payload, live.as_deref(), true, asked)
            }
            None => {
                let before = live.as_ref().map(|live| &*live.manifest.permissions);
                !PermissionDiff::between(before.unwrap_or_default(), asked).widens
            }
        };
        if !allowed {
            return Err(PublishError::Widens(agent.clone()));
        }
        let mut commit = Commit::new();
        let next = AgentRow {
            current: number,
            ..row.clone()
        };
        expect(&mut commit, agent, Some(&(bytes, row.clone())));
        commit.put(AGENTS, agent.as_str(), encode(&next));
        let event = Event::new(EventKind::GenerationRolledBack)
            .principal(principal.as_str())
            .agent(agent.clone())
            .component(generation.digest)
            .detail(serde_json::json!({ "generation": number, "previous": row.current }));
        self.0.services.audit.append(&mut commit, event);
        let gate = &self.0.services.gate;
        let introductions = match permit.is_some() {
            true => gate.introduce(&mut commit, agent, generation.digest, &generation.manifest),
            false => Introductions::default(),
        };
        let done = match permit {
            Some((permit, payload)) => permit
                .commit(&payload, commit)
                .await
                .map(drop)
                .map_err(PublishError::NotPermitted),
            None => {
                let committed = self.0.services.store.commit(commit).await;
                committed.map(drop).map_err(PublishError::Commit)
            }
        };
        let done = self.unless_landed(done, agent, Some(&next)).await?;

        self.0.services.gate.introduced(introductions);
        self.serve(Arc::clone(&generation));
        self.0
            .registry
            .tell(agent.clone(), Change::RolledBack(number));
        done.map(|()| generation)
    }

    /// A kept generation, loaded.
    pub(crate) async fn kept_generation(
        &self,
        agent: &AgentName,
        number: u64,
    ) -> Result<Arc<Generation>, PublishError> {
        let Some((_, row)) = self.row(agent).await? else {
            return Err(PublishError::UnknownAgent(agent.clone()));
        };
        let unknown = || PublishError::UnknownGeneration {
            agent: agent.clone(),
            number,
        };
        let info = self.info(agent, number).await?.ok_or_else(unknown)?;
        Ok(Arc::new(self.reload(info, &row).await?))
    }

    /// Removes an agent and all its generations. Invocations that run end as
    /// usual.
    pub async fn remove(
        &self,
        agent: &AgentName,
        principal: &Principal,
    ) -> Result<(), PublishError> {
        let (runtime, agent, principal) = (self.clone(), agent.clone(), principal.clone());
        to_the_end(async move { runtime.remove_now(&agent, &principal).await })
            .await
            .map_err(PublishError::Commit)?
    }

    async fn remove_now(
        &self,
        agent: &AgentName,
        principal: &Principal,
    ) -> Result<(), PublishError> {
        let _changing = self.0.registry.changing.lock().await;
        let Some(row) = self.row(agent).await? else {
            // An agent that the store does not have does not answer, whatever came of its removal.
            self.0.registry.remove(agent);
            return Err(PublishError::UnknownAgent(agent.clone()));
        };
        let mut commit = Commit::new();
        expect(&mut commit, agent, Some(&row));
        commit.delete(AGENTS, agent.as_str());
        let kept = self.generations(agent).await.map_err(PublishError::Read)?;
        for info in &kept {
            commit.delete(GENERATIONS, generation_key(agent, info.number));
        }
        let event = Event::new(EventKind::AgentDeleted)
            .principal(principal.as_str())
            .agent(agent.clone())
            .detail(serde_json::json!({ "generation": row.1.current }));
        self.0.services.audit.append(&mut commit, event);
        self.0.services.gate.forget(&mut commit, agent);
        let committed = self.0.services.store.commit(commit).await;
        let done = committed.map(drop).map_err(PublishError::Commit);
        let done = self.unless_landed(done, agent, None).await?;

        self.0.services.gate.forgotten(agent);
        self.0.registry.remove(agent);
        self.0.registry.tell(agent.clone(), Change::Removed);
        self.collect(kept).await;
        done
    }

    /// What a change came to, if it is made: the inner error is one that its caller is told although
    /// it is. Memory has to follow it in both cases. The outer error is one that changed nothing.
    async fn unless_landed(
        &self,
        done: Result<(), PublishError>,
        agent: &AgentName,
        row: Option<&AgentRow>,
    ) -> Result<Result<(), PublishError>, PublishError> {
        let told = match &done {
            Err(PublishError::Commit(error)) => error.clone(),
            Err(PublishError::NotPermitted(StartError::Unavailable(why))) => {
                CommitError::Unavailable(why.clone())
            }
            _ => return done.map(Ok),
        };
        let (store, row) = (&*self.0.services.store, row.map(encode));
        let key = agent.as_str().as_bytes();
        match landed(store, &told, AGENTS, key, row.as_deref()).await {
            true => Ok(done),
            false => done.map(Ok),
        }
    }
}

fn expect(commit: &mut Commit, agent: &AgentName, row: Option<&(Vec<u8>, AgentRow)>) {
    match row {
        Some((bytes, _)) => commit.expect_value(AGENTS, agent.as_str(), bytes.clone()),
        None => commit.expect_absent(AGENTS, agent.as_str()),
    };
}

/// Rows are plain data with text keys, which always encode.
fn encode<T: serde::Serialize>(row: &T) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}
