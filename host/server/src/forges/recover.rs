//! What a dead host left running is ended.

use nexus_forge::Forge;
use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_proto::v1::forge_event::{Detail, Stage, State as StageState};
use nexus_runtime::{GenerationInfo, Runtime};
use nexus_store::{CommitError, ReadError, Store};

use super::live::{end, has_ended, last_event};
use super::rows::{self, RowError};
use crate::{convert, names};

/// Why the forges are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// They can't be read.
    #[error("open the forges")]
    Rows(#[source] RowError),
    /// The agents can't be read.
    #[error("look for the agents of interrupted forges")]
    Agents(#[source] ReadError),
    /// What was interrupted can't be ended.
    #[error("end the forges that the last host left")]
    Commit(#[source] CommitError),
}

pub(super) async fn recover(
    store: &dyn Store,
    runtime: &Runtime,
    forge: &Forge,
) -> Result<(), OpenError> {
    let open = rows::list(store, None, usize::MAX, |forge| !has_ended(forge)).await;
    for mut left in open.map_err(OpenError::Rows)? {
        let agent = names::agent("agent", &left.agent).ok();
        let Some((id, agent)) = rows::id_of(&left.name).zip(agent) else {
            continue;
        };
        let published = forge.published(id, &agent).await;
        let event = match published.map_err(OpenError::Agents)? {
            // It had come to its end, and only did not live to tell.
            Some(info) => {
                let live = runtime
                    .get(&agent)
                    .filter(|live| live.number == info.number);
                let agent = live.map_or_else(|| short(&info), |live| convert::agent(&live));
                let published = Some(Detail::Published(agent));
                let mut event = last_event(&left, StageState::Succeeded, published);
                event.stage = Stage::Publish.into();
                end(&mut left, State::Succeeded, event.clone());
                event
            }
            None => {
                let words = "the host stopped while this forge ran; forge again";
                let failure = Some(Detail::Failure(words.to_owned()));
                let event = last_event(&left, StageState::Interrupted, failure);
                end(&mut left, State::Interrupted, event.clone());
                event
            }
        };
        rows::write(store, id, &left, &[event])
            .await
            .map_err(OpenError::Commit)?;
    }
    Ok(())
}

/// What is known of a generation that is no longer live.
fn short(info: &GenerationInfo) -> v1::Agent {
    v1::Agent {
        name: names::of_agent(&info.agent),
        generation: info.number,
        component_digest: info.digest.to_string(),
        version: info.version.clone(),
        permissions_digest: info.permissions.to_string(),
        owner: info.owner.to_string(),
        create_time: Some(convert::timestamp(info.created_ms)),
        ..v1::Agent::default()
    }
}
