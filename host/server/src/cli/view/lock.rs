use nexus_proto::v1::Lock;

use crate::cli::text::{fields, line, time};

/// How the emergency lock stands.
pub(crate) fn one(lock: &Lock) -> String {
    if !lock.engaged {
        return "the emergency lock is open\n".to_owned();
    }
    let mut text = "the emergency lock is ENGAGED: no agent does anything\n".to_owned();
    text.push_str(&fields([
        ("reason", line(&lock.reason)),
        ("by", line(&lock.principal)),
        ("since", time(lock.engage_time.as_ref())),
    ]));
    if !lock.durable {
        text.push_str("it could not be written down and ends with the host's process\n");
    }
    text
}
