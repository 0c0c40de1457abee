//! `config`: the manifest's `[config]` table.

use nexus_runtime::State;

use crate::bindings::nexus::agent::config::Host;

impl Host for State {
    async fn get(&mut self) -> wasmtime::Result<String> {
        self.host_call()?;
        Ok(serde_json::to_string(&self.context().manifest.config)?)
    }
}
