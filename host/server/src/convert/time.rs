//! Times.

use std::time::{Duration, SystemTime};

use tonic::Status;

use crate::fault::Fault;

/// The last second that a timestamp can name: the year 9999 ends with it.
const LAST_SECOND: u64 = 253_402_300_799;
/// A hundred years: whatever is longer is for ever, which has no duration.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Milliseconds since the epoch as a timestamp; what lies beyond the last that there is becomes it.
pub(crate) fn timestamp(ms: u64) -> prost_types::Timestamp {
    let ms = ms.min(LAST_SECOND * 1000);
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

/// A duration from the wire; it must be positive, and not beyond all measure.
pub(crate) fn from_duration(
    field: &str,
    duration: prost_types::Duration,
) -> Result<Duration, Status> {
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| {
            Fault::invalid(
                field,
                "use a duration above zero, of a hundred years at most",
            )
            .into()
        })
}
