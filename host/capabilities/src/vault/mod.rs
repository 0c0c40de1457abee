//! `vault`: secrets by name. A handle is the right to have one used; its value never comes near.

use nexus_effects::secret;
use nexus_gate::kind;
use nexus_manifest::SecretName;
use nexus_runtime::State;
use wasmtime::component::Resource;

use crate::bindings::nexus::agent::types::Error;
use crate::bindings::nexus::agent::vault::{Host, HostSecret};
use crate::error::{failed, refused};

/// A secret that the manifest lists and the vault holds.
pub struct Secret {
    pub(crate) name: SecretName,
}

impl Host for State {}

impl HostSecret for State {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Secret>, Error>> {
        self.host_call()?;
        let name: SecretName = match name.parse() {
            Ok(name) => name,
            Err(error) => return Ok(Err(Error::Invalid(format!("{error}")))),
        };
        let sequence = self.next_sequence();
        let action = secret::open_action(self.context().clone(), sequence, self.labels(), &name);
        let services = self.services().clone();
        let permit = match services
            .gate
            .check::<kind::SecretOpen>(action, &*self.observer())
            .await
        {
            Ok(permit) => permit,
            Err(refusal) => return Ok(Err(refused(refusal))),
        };
        self.waited();
        match secret::open(permit, &name, &services.vault).await {
            Ok(()) => Ok(Ok(self.table.push(Secret { name })?)),
            Err(error) => Ok(Err(failed(error))),
        }
    }

    async fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}
