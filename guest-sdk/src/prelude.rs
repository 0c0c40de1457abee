//! What nearly every agent uses: `use nexus_agent::prelude::*;`.

pub use crate::{Error, Failure, Result};
pub use crate::{bus, config, ensure, export, fail, http, log, memory, vault};
pub use serde::{Deserialize, Serialize};
pub use serde_json::{Value, json};
