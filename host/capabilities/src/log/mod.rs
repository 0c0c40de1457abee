//! `log`: what callers and operators see while an agent works.

use nexus_runtime::State;

use crate::bindings::nexus::agent::log::{Host, Level};

impl Host for State {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.host_call()?;
        let level = match level {
            Level::Debug => nexus_runtime::Level::Debug,
            Level::Info => nexus_runtime::Level::Info,
            Level::Warn => nexus_runtime::Level::Warn,
            Level::Error => nexus_runtime::Level::Error,
        };
        self.log(level, &message);
        Ok(())
    }

    async fn progress(&mut self, fraction: f64, message: String) -> wasmtime::Result<()> {
        self.host_call()?;
        State::progress(self, fraction, &message);
        Ok(())
    }
}
