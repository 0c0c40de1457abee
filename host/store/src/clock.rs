use std::time::{SystemTime, UNIX_EPOCH};

/// A time as records carry it: milliseconds since the Unix epoch, 0 before it.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The present time as records carry it.
pub fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}
