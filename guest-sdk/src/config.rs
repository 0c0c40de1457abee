//! The manifest's `[config]` table, so that one component can serve as many agents.
//!
//! ```no_run
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     address: String,
//! }
//!
//! # fn invoke() -> nexus_agent::Result<()> {
//! let config: Config = nexus_agent::config::get()?;
//! # Ok(())
//! # }
//! ```

use serde::de::DeserializeOwned;

use crate::bindings::nexus::agent::config as wit;
use crate::{Error, Result};

/// Reads the configuration into `T`. Fails with [`Error::Json`] if a field is missing or of another type.
pub fn get<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&text()).map_err(|error| Error::json("the manifest's [config]", &error))
}

/// The configuration as a JSON object; `{}` if the manifest has none.
pub fn text() -> String {
    wit::get()
}
