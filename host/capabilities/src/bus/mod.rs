//! `bus`: calls of other agents, which act with their own rights.

mod call;

use std::sync::Arc;

use nexus_effects::bus;
use nexus_gate::kind;
use nexus_manifest::AgentName;
use nexus_runtime::{Generation, State};
use wasmtime::component::Resource;

use crate::bindings::nexus::agent::bus::{Card, Host, HostPeer, HostPending};
use crate::bindings::nexus::agent::types::{Error, Failure};
use crate::error::{failed, lost, not_granted, refused};
use crate::task::Task;

/// The right to call one agent.
pub struct Peer {
    name: AgentName,
}

/// A call in the host's hands.
pub struct Pending {
    task: Task<call::Ended>,
}

impl Host for State {
    async fn peers(&mut self) -> wasmtime::Result<Result<Vec<Card>, Error>> {
        self.host_call()?;
        if let Err(error) = listed(self).await {
            return Ok(Err(error));
        }
        let own = self.context().clone();
        let mut peers = self.runtime().list();
        peers.retain(|peer| {
            peer.manifest.name != own.agent
                && own.manifest.peer(&peer.manifest.name, &peer.manifest.tags)
        });
        peers.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
        Ok(Ok(peers.iter().map(card).collect()))
    }
}

impl HostPeer for State {
    async fn find(&mut self, name: String) -> wasmtime::Result<Result<Resource<Peer>, Error>> {
        self.host_call()?;
        let name: AgentName = match name.parse() {
            Ok(name) => name,
            Err(error) => return Ok(Err(Error::Invalid(format!("{error}")))),
        };
        let found = self.runtime().get(&name);
        let tags = found
            .as_ref()
            .map(|peer| peer.manifest.tags.clone())
            .unwrap_or_default();
        // Permission first: an agent that may not call a peer does not learn whether it exists.
        if !self.context().manifest.peer(&name, &tags) {
            let reason = format!("the manifest has no peer permission for {name}");
            return Ok(Err(not_granted(self, "bus", name.as_str(), reason)));
        }
        if found.is_none() && self.rehearsal().is_none_or(|found| found.is_shadow()) {
            return Ok(Err(Error::NotFound(format!(
                "there is no agent {name} now"
            ))));
        }
        Ok(Ok(self.table.push(Peer { name })?))
    }

    async fn card(&mut self, peer: Resource<Peer>) -> wasmtime::Result<Card> {
        self.host_call()?;
        let name = self.table.get(&peer)?.name.clone();
        // A peer that was removed since keeps its name and says nothing more.
        Ok(self.runtime().get(&name).map_or_else(
            || Card {
                name: name.to_string(),
                summary: String::new(),
                tags: Vec::new(),
                input_schema: String::new(),
            },
            |peer| card(&peer),
        ))
    }

    async fn call(
        &mut self,
        peer: Resource<Peer>,
        input: String,
    ) -> wasmtime::Result<Result<Resource<Pending>, Error>> {
        self.host_call()?;
        let peer = self.table.get(&peer)?.name.clone();
        let held = self.hold(call::COPIES * input.len())?;
        let task = call::start(self, peer, input, held);
        Ok(Ok(self.table.push(Pending { task })?))
    }

    async fn drop(&mut self, peer: Resource<Peer>) -> wasmtime::Result<()> {
        self.table.delete(peer)?;
        Ok(())
    }
}

impl HostPending for State {
    async fn wait(
        &mut self,
        pending: Resource<Pending>,
    ) -> wasmtime::Result<Result<Result<String, Failure>, Error>> {
        self.host_call()?;
        let mut pending = self.table.delete(pending)?;
        let answer = pending.task.wait().await;
        self.waited();
        Ok(match answer.transpose()? {
            Some((answer, _held)) => answer,
            None => Err(lost()),
        })
    }

    async fn drop(&mut self, pending: Resource<Pending>) -> wasmtime::Result<()> {
        self.table.delete(pending)?;
        Ok(())
    }
}

/// Takes a listing through the gate.
async fn listed(state: &mut State) -> Result<(), Error> {
    let shadow = state.rehearsal();
    if shadow.as_ref().is_some_and(|found| !found.is_shadow()) {
        return Ok(());
    }
    let sequence = state.next_sequence();
    let action = bus::list_action(state.context().clone(), sequence, state.labels());
    let payload = action.payload.clone();
    let gate = state.services().gate.clone();
    let permit = gate
        .check::<kind::BusList>(action, &*state.observer())
        .await
        .map_err(refused)?;
    state.waited();
    if let Some(shadow) = shadow {
        shadow.saw("bus peers");
    }
    bus::list(permit, &payload).await.map_err(failed)
}

fn card(peer: &Arc<Generation>) -> Card {
    let manifest = &peer.manifest;
    Card {
        name: manifest.name.to_string(),
        summary: manifest.summary.clone(),
        tags: manifest.tags.iter().map(ToString::to_string).collect(),
        input_schema: manifest
            .input
            .as_ref()
            .map(|s| s.as_str().to_owned())
            .unwrap_or_default(),
    }
}
