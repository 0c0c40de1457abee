//! Which generations are kept, and what goes with those that are not.

use nexus_manifest::AgentName;
use nexus_store::{BlobId, Commit, Scan};

use crate::kept::kept;
use crate::prepare::blocking;
use crate::publish::PublishError;
use crate::registry::{GENERATIONS, GenerationInfo, generation_key};
use crate::runtime::Runtime;

impl Runtime {
    /// Drops the oldest generations from the registry, and says which.
    pub(crate) async fn prune(
        &self,
        commit: &mut Commit,
        agent: &AgentName,
        current: u64,
    ) -> Result<Vec<GenerationInfo>, PublishError> {
        // The current one is not among them yet.
        let before = self.generations(agent).await.map_err(PublishError::Read)?;
        let dropped: Vec<_> = before
            .into_iter()
            .skip(self.0.options.kept_generations.saturating_sub(1))
            .collect();
        for info in &dropped {
            debug_assert!(info.number < current, "numbers count up");
            commit.delete(GENERATIONS, generation_key(agent, info.number));
        }
        Ok(dropped)
    }

    /// Removes components and artifacts that no generation of any agent needs and nobody keeps. The
    /// caller holds `changing`.
    pub(crate) async fn collect(&self, dropped: Vec<GenerationInfo>) {
        if dropped.is_empty() {
            return;
        }
        // What is left behind costs space and nothing else.
        let Ok(rows) = self
            .0
            .services
            .store
            .scan(GENERATIONS, Scan::default())
            .await
        else {
            return;
        };
        let Ok(spared) = kept(&*self.0.services.store).await else {
            return;
        };
        let kept: Vec<GenerationInfo> = rows
            .iter()
            .filter_map(|(_, row)| serde_json::from_slice(row).ok())
            .collect();
        let runtime = self.clone();
        blocking(move || {
            for info in dropped {
                let needed = spared.contains(info.digest.as_bytes())
                    || kept.iter().any(|kept| kept.digest == info.digest);
                if !needed {
                    let blob = BlobId::from(info.digest.as_bytes());
                    if let Err(error) = runtime.0.services.blobs.remove(&blob) {
                        tracing::debug!(%error, component = %info.digest, "the component is left behind");
                    }
                }
                if kept.iter().all(|kept| kept.code != info.code) {
                    runtime.forget_code(&info.code);
                }
            }
        })
        .await;
    }
}
