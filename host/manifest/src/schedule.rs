//! When an agent asks to be run without being called.

/// A manifest's `[schedule]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Five-field cron expression.
    pub cron: String,
    /// IANA time zone in which `cron` is read.
    pub zone: String,
    /// The input of each run.
    pub input: serde_json::Value,
}
