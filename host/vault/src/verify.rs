//! The vault's rows against what the audit says was done to them.

use std::collections::BTreeMap;

use nexus_audit::EventKind;

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
        /// The version found, if there is a row.
        found: Option<u64>,
    },
    /// The row has no event at all.
    Unrecorded {
        /// The secret.
        name: String,
    },
    /// The row does not open.
    Unopened {
        /// The secret.
        name: String,
    },
}

impl Vault {
    /// Opens every secret and compares it with the audit, whose chain the caller has verified.
    ///
    /// Finds what sealing alone can't: a complete older row that was put back while no host ran.
    pub async fn verify(&self) -> Result<Vec<Fault>, Error> {
        let mut recorded: BTreeMap<String, u64> = BTreeMap::new();
        let mut from = 1;
        loop {
            let records = self
                .audit()
                .events(from, 1_000)
                .await
                .map_err(Error::Audit)?;
            let Some(last) = records.last() else { break };
            from = last.sequence + 1;
            for record in &records {
                let event = &record.event;
                if !matches!(event.kind, EventKind::SecretSet | EventKind::SecretDeleted) {
                    continue;
                }
                if let (Some(name), Some(version)) = (
                    event.detail["name"].as_str(),
                    event.detail["version"].as_u64(),
                ) {
                    recorded.insert(name.to_owned(), version);
                }
            }
        }
        let mut faults = Vec::new();
        for (name, row) in self.rows().await? {
            let text = name.to_string();
            match recorded.remove(&text) {
                Some(version) if version == row.version => {}
                Some(version) => faults.push(Fault::Version {
                    name: text.clone(),
                    recorded: version,
                    found: Some(row.version),
                }),
                None => faults.push(Fault::Unrecorded { name: text.clone() }),
            }
            match self.open_secret(&name).await {
                Err(Error::Tampered { .. }) => faults.push(Fault::Unopened { name: text }),
                Err(Error::NotFound(_)) | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        // A deleted secret leaves a row too, so a missing row is a fault whatever the last event was.
        faults.extend(recorded.into_iter().map(|(name, version)| Fault::Version {
            name,
            recorded: version,
            found: None,
        }));
        Ok(faults)
    }
}
