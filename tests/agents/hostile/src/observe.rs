//! Looks for what the sandbox should not show, and for what replay must repeat.

use std::collections::{HashMap, HashSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nexus_agent::prelude::*;

/// What the component can see of the machine: everything here should be empty or an error.
pub(crate) fn world() -> Result<String> {
    let seen = json!({
        "arguments": std::env::args().collect::<Vec<_>>(),
        "environment": std::env::vars().collect::<HashMap<_, _>>(),
        "root": std::fs::read_dir("/").map(|entries| entries.count()).map_err(|error| error.to_string()),
        "file": std::fs::read_to_string("/etc/hostname").map_err(|error| error.to_string()),
        "write": std::fs::write("/tmp/hostile", "x").map_err(|error| error.to_string()),
        "thread": std::thread::Builder::new().spawn(|| ()).map(|_| ()).map_err(|error| error.to_string()),
    });
    Ok(seen.to_string())
}

/// The order of a hash set, both clocks, and the time between two looks at one.
pub(crate) fn randomness_and_clock() -> Result<String> {
    let order: Vec<u32> = (0..16).collect::<HashSet<_>>().into_iter().collect();
    let begin = Instant::now();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| error.to_string())?;
    #[allow(clippy::disallowed_methods, reason = "the sleep is what is observed")]
    std::thread::sleep(std::time::Duration::from_millis(20));
    Ok(json!({
        "hash_order": order,
        "unix_nanoseconds": now.as_nanos().to_string(),
        "slept_nanoseconds": begin.elapsed().as_nanos().to_string(),
    })
    .to_string())
}
