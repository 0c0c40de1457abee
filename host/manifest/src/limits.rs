//! Limits that an agent sets itself, only ever below the host's own.

use std::time::Duration;

/// What an agent wants to be held to. `None` leaves the host's own limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, summed over the instance.
    pub memory: Option<u64>,
    /// Processor time of one invocation.
    pub cpu: Option<Duration>,
    /// Wall time of one invocation; waiting for a person does not count.
    pub wall: Option<Duration>,
}

/// Reads a size such as `64MiB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|&bytes| bytes > 0)
}

/// Reads a time such as `5s`, `500ms`, `5m` or `1h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number
        .checked_mul(millis)
        .filter(|&ms| ms > 0)
        .map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_need_a_number_and_a_unit() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        for bad in [
            "",
            "64",
            "MiB",
            "-1MiB",
            "1.5MiB",
            "64mb",
            "0B",
            "18446744073709551615GiB",
        ] {
            assert_eq!(size(bad), None, "{bad}");
        }
        for bad in ["", "5", "s", "0s", "5 s", "1d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
