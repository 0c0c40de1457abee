//! What was forged and is not live: found by name, and noted once it is.

use nexus_manifest::{AgentName, Digest};
use nexus_runtime::let_go;
use nexus_store::{Commit, CommitError};

use crate::forge::Forge;
use crate::records::{self, Forged, ForgedState, RecordError};

/// Records looked at in one read.
const PAGE: usize = 200;

impl Forge {
    /// What was forged last under a name, or the newest of this component.
    pub async fn newest(
        &self,
        agent: &AgentName,
        component: Option<&Digest>,
    ) -> Result<Option<Forged>, RecordError> {
        let mut after = None;
        loop {
            let page = self.list(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = Some(last.id);
            let wanted = |forged: &Forged| {
                forged.agent == *agent
                    && component.is_none_or(|component| *component == forged.component)
            };
            if let Some(found) = page.into_iter().find(wanted) {
                return Ok(Some(found));
            }
        }
    }

    /// Notes that a component that was held is live.
    pub async fn note_published(&self, forged: &Forged) -> Result<Forged, CommitError> {
        let published = Forged {
            state: ForgedState::Published,
            ..forged.clone()
        };
        let mut commit = Commit::new();
        records::put_forged(&mut commit, &published);
        // From now on its generation keeps it.
        let_go(&mut commit, &published.component, &published.id.to_string());
        let store = &self.inner.runtime.services().store;
        store.commit(commit).await?;
        Ok(published)
    }
}
