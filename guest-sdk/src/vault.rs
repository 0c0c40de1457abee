//! Secrets by name. A handle is the right to have a secret used, not to see it.
//!
//! The host adds the secret to a request when it leaves, over TLS and towards the secret's audience only:
//!
//! ```no_run
//! use nexus_agent::prelude::*;
//!
//! # fn invoke() -> Result<()> {
//! let secret = vault::secret("exchange-key")?;
//! http::post("https://api.example.com/orders").bearer(&secret).json(&json!({ "symbol": "ETH" })).send()?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::rc::Rc;

use crate::Result;
use crate::bindings::nexus::agent::vault as wit;

/// The right to have one secret used. Copies made with `clone` are the same handle.
#[derive(Clone)]
pub struct Secret {
    name: Rc<str>,
    handle: Rc<wit::Secret>,
}

/// Opens a secret. Refused unless the manifest lists it.
pub fn secret(name: impl AsRef<str>) -> Result<Secret> {
    let name = name.as_ref();
    let handle = wit::Secret::open(name)?;
    Ok(Secret {
        name: name.into(),
        handle: Rc::new(handle),
    })
}

impl Secret {
    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret's own text, for what the host can't do with it by itself. `reason` is shown to the person who
    /// is asked, each time.
    ///
    /// Needs `reveal = true` in the manifest's permission and `nexus vault set --revealable` on the host. From here
    /// on every request of the invocation asks a person, and what carries the value itself goes nowhere.
    #[cfg(feature = "reveal")]
    pub fn reveal(&self, reason: impl AsRef<str>) -> Result<String> {
        let reason = reason.as_ref();
        Ok(crate::bindings_reveal::nexus::agent::vault_reveal::reveal(
            &self.handle,
            reason,
        )?)
    }

    pub(crate) fn handle(&self) -> &wit::Secret {
        &self.handle
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
