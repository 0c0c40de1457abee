//! Times.

use std::time::{Duration, SystemTime};

use tonic::Status;

use crate::fault::Fault;

/// Milliseconds since the epoch as a timestamp.
pub(crate) fn timestamp(ms: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: (ms / 1000) as i64,
        nanos: (ms % 1000 * 1_000_000) as i32,
    }
}

/// The present time.
pub(crate) fn now() -> prost_types::Timestamp {
    SystemTime::now().into()
}

/// A duration for the wire.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs() as i64,
        nanos: duration.subsec_nanos() as i32,
    }
}

/// A duration from the wire; it must be positive.
pub(crate) fn from_duration(
    field: &str,
    duration: prost_types::Duration,
) -> Result<Duration, Status> {
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Fault::invalid(field, "use a duration above zero").into())
}
