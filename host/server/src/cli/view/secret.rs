use nexus_proto::v1::{Entry, Secret};

use crate::cli::text::{Table, id, time};

/// The secrets, one line each; their values are not known here.
pub(crate) fn list(secrets: &[Secret]) -> String {
    let mut table = Table::new(["SECRET", "VERSION", "UPDATED", "AUDIENCE"]);
    for secret in secrets {
        table.row([
            id(&secret.name).to_owned(),
            secret.version.to_string(),
            time(secret.update_time.as_ref()),
            if secret.damaged {
                "DAMAGED: set it anew".to_owned()
            } else if secret.revealable {
                format!(
                    "{}, and agents by a person's word",
                    secret.audience.join(", ")
                )
            } else {
                secret.audience.join(", ")
            },
        ]);
    }
    table.to_string()
}

/// The entries of a space, one line each, without their values.
pub(crate) fn entries(entries: &[Entry]) -> String {
    let mut table = Table::new(["KEY", "REVISION", "BYTES"]);
    for entry in entries {
        table.row([
            key(&entry.name).to_owned(),
            entry.revision.to_string(),
            entry.value.len().to_string(),
        ]);
    }
    table.to_string()
}

/// The key in an entry's name: everything after `entries/`, slashes included.
pub(crate) fn key(name: &str) -> &str {
    name.split_once("/entries/").map_or(name, |(_, key)| key)
}
