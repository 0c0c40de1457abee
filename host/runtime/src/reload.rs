//! From what the store holds of an agent to a generation that answers.

use std::sync::Arc;

use nexus_manifest::{AgentName, error_chain};
use nexus_store::{ReadError, Scan};

use crate::generation::{Entry, Generation};
use crate::publish::PublishError;
use crate::registry::{AGENTS, AgentRow, GENERATIONS, GenerationInfo, generation_key};
use crate::runtime::Runtime;

impl Runtime {
    /// Loads the current generation of every agent.
    pub(crate) async fn load_all(&self) -> Result<(), ReadError> {
        let rows = self.0.services.store.scan(AGENTS, Scan::default()).await?;
        for (key, value) in rows {
            let Some(name) = std::str::from_utf8(&key)
                .ok()
                .and_then(|name| name.parse::<AgentName>().ok())
            else {
                continue;
            };
            let loaded = match serde_json::from_slice::<AgentRow>(&value) {
                Ok(row) => match self.info(&name, row.current).await {
                    Ok(Some(info)) => self.reload(info, &row).await,
                    Ok(None) => Err(PublishError::UnknownGeneration {
                        agent: name.clone(),
                        number: row.current,
                    }),
                    Err(error) => Err(error),
                },
                Err(_) => Err(PublishError::Damaged(name.clone())),
            };
            match loaded {
                Ok(generation) => self.serve(Arc::new(generation)),
                Err(error) => {
                    let why = error_chain(&error);
                    tracing::error!(agent = %name, error = why, "the agent can't be loaded");
                    self.0.registry.set_broken(name, why);
                }
            }
        }
        Ok(())
    }

    /// Lets a generation answer, and brings its code to the other pools meanwhile.
    pub(crate) fn serve(&self, generation: Arc<Generation>) {
        self.0.registry.set(Arc::clone(&generation));
        if generation.loaded.others.is_empty() {
            return;
        }
        let runtime = self.clone();
        tokio::task::spawn_blocking(move || {
            let loaded = &generation.loaded;
            let Some(artifact) = runtime.0.cache.get(&loaded.code) else {
                // It was not kept; the first pool serves everybody.
                return;
            };
            for (place, linker) in loaded.others.iter().zip(runtime.0.linkers.others()) {
                let entry = artifact
                    .load(linker.engine())
                    .and_then(|native| Entry::new(linker, &native, &loaded.handler));
                match entry {
                    Ok(entry) => _ = place.set(entry),
                    Err(error) => tracing::warn!(
                        error = format!("{error:#}"),
                        agent = %generation.agent(),
                        "the agent runs from the first pool only"
                    ),
                }
            }
        });
    }

    pub(crate) async fn row(
        &self,
        agent: &AgentName,
    ) -> Result<Option<(Vec<u8>, AgentRow)>, PublishError> {
        let bytes = self
            .0
            .services
            .store
            .get(AGENTS, agent.as_str().as_bytes())
            .await;
        let Some(bytes) = bytes.map_err(PublishError::Read)? else {
            return Ok(None);
        };
        let row =
            serde_json::from_slice(&bytes).map_err(|_| PublishError::Damaged(agent.clone()))?;
        Ok(Some((bytes, row)))
    }

    pub(crate) async fn info(
        &self,
        agent: &AgentName,
        number: u64,
    ) -> Result<Option<GenerationInfo>, PublishError> {
        let key = generation_key(agent, number);
        let bytes = self
            .0
            .services
            .store
            .get(GENERATIONS, &key)
            .await
            .map_err(PublishError::Read)?;
        bytes
            .map(|bytes| {
                serde_json::from_slice(&bytes).map_err(|_| PublishError::Damaged(agent.clone()))
            })
            .transpose()
    }

    /// Makes a stored generation ready again, from its artifact if that is there.
    pub(crate) async fn reload(
        &self,
        info: GenerationInfo,
        row: &AgentRow,
    ) -> Result<Generation, PublishError> {
        let component = self
            .component(&info.digest)
            .await
            .map_err(PublishError::Blob)?;
        let (_, digest, loaded) = self
            .load(component)
            .await
            .map_err(|error| PublishError::Load(Box::new(error)))?;
        Ok(Generation {
            number: info.number,
            digest,
            manifest: Arc::clone(&loaded.manifest),
            // Whoever published this generation, the agent is its owner's.
            owner: row.owner.clone(),
            created_ms: info.created_ms,
            lineage: info.lineage,
            reviewed: info.reviewed,
            loaded: Arc::new(loaded),
        })
    }
}
