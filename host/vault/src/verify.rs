//! The vault's rows against what the audit says was done to them.

use crate::anchor;
use crate::error::Error;
use crate::vault::Vault;

/// A row that is not as the last recorded change left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The row is of another version than the audit's last event: an older one was put back.
    Version {
        /// The secret.
        name: String,
        /// The version of the last recorded change.
        recorded: u64,
        /// The version found, if there is a row that can be read.
        found: Option<u64>,
    },
    /// The row has no event at all.
    Unrecorded {
        /// The secret.
        name: String,
    },
    /// The row is not the one that was recorded, or does not open.
    Unopened {
        /// The secret.
        name: String,
    },
}

impl Vault {
    /// Opens every secret and compares it with the audit, whose chain the caller has verified.
    pub async fn verify(&self) -> Result<Vec<Fault>, Error> {
        let mut recorded = anchor::recorded(&self.0.audit).await?;
        let mut faults = Vec::new();
        for (name, row) in Self::rows(self.0.store.as_ref()).await? {
            let text = name.to_string();
            let found = row.ok().map(|row| row.version);
            match recorded.remove(&text) {
                Some((version, _)) if Some(version) == found => {
                    match self.open_secret(&name).await {
                        Err(Error::Tampered { .. }) => {
                            faults.push(Fault::Unopened { name: text });
                        }
                        Err(Error::NotFound(_)) | Ok(_) => {}
                        Err(error) => return Err(error),
                    }
                }
                Some((version, _)) => faults.push(Fault::Version {
                    name: text,
                    recorded: version,
                    found,
                }),
                None => faults.push(Fault::Unrecorded { name: text }),
            }
        }
        // A deleted secret leaves a row too, so a missing row is a fault whatever the last event was.
        for (name, (version, _)) in recorded {
            faults.push(Fault::Version {
                name,
                recorded: version,
                found: None,
            });
        }
        Ok(faults)
    }
}
