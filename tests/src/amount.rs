//! How much a test does: little enough for every run, and more where a machine has the time.

/// How many rounds a test does: `test` in every run, `soak` under `make soak`, which sets
/// `NEXUS_SOAK`. Both are whole tests; only the number of cases differs.
pub fn amount(test: usize, soak: usize) -> usize {
    match std::env::var_os("NEXUS_SOAK") {
        Some(value) if value != "0" && !value.is_empty() => soak,
        _ => test,
    }
}
