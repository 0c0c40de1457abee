//! `vault`: secrets by name. A handle is the right to have one used; its value comes near by
//! `vault-reveal` alone, which is in a world of its own.

use nexus_effects::secret::{self, Reveal};
use nexus_gate::{Label, kind};
use nexus_manifest::SecretName;
use nexus_runtime::State;
use wasmtime::component::Resource;

use crate::bindings::nexus::agent::types::Error;
use crate::bindings::nexus::agent::vault::{Host, HostSecret};
use crate::bindings::nexus::agent::vault_reveal;
use crate::error::{failed, not_granted, refused};

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
        if self.rehearsal().is_some() {
            if self.context().manifest.secret(name.as_str()).is_none() {
                let reason = format!("the manifest has no permission for the secret {name}");
                return Ok(Err(not_granted(self, "vault", name.as_str(), reason)));
            }
            return Ok(Ok(self.table.push(Secret { name })?));
        }
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

impl vault_reveal::Host for State {
    async fn reveal(
        &mut self,
        secret: Resource<Secret>,
        reason: String,
    ) -> wasmtime::Result<Result<String, Error>> {
        self.host_call()?;
        let name = self.table.get(&secret)?.name.clone();
        if self.rehearsal().is_some() {
            let reason = "nobody is shown a secret while a component is tried".to_owned();
            return Ok(Err(not_granted(self, "vault", name.as_str(), reason)));
        }
        Ok(reveal(self, name, reason).await)
    }
}

/// What neither manifest nor operator allow is refused before anybody is asked.
async fn reveal(state: &mut State, name: SecretName, reason: String) -> Result<String, Error> {
    let permission = state.context().manifest.secret(name.as_str());
    if permission.is_none_or(|permission| !permission.reveal) {
        let reason = format!(
            "the manifest's permission for the secret {name} is to have it used, without `reveal = true`"
        );
        return Err(not_granted(state, "vault", name.as_str(), reason));
    }
    let services = state.services().clone();
    if let Err(error) = secret::check_revealable(&name, &services.vault).await {
        return Err(match error {
            nexus_effects::Error::Forbidden(reason) => {
                not_granted(state, "vault", name.as_str(), reason)
            }
            other => failed(other),
        });
    }
    let reveal = Reveal::new(name, reason).map_err(failed)?;
    let sequence = state.next_sequence();
    let action = reveal.action(state.context().clone(), sequence, state.labels());
    state.watch().check(&action).await.map_err(failed)?;
    let permit = services
        .gate
        .check::<kind::SecretReveal>(action, &*state.observer())
        .await
        .map_err(refused)?;
    state.waited();
    // Before the value is there: nothing that the guest does with it comes first.
    state.add_labels([Label::Secret(reveal.name().to_string())]);
    let value = secret::reveal(permit, &reveal, &services.vault, state.watch())
        .await
        .map_err(failed)?;
    Ok(value.expose().to_owned())
}
