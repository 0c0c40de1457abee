//! Returns its input: the least that an agent can be, and what the benchmarks call.

nexus_agent::export_raw!(invoke);

fn invoke(input: String) -> nexus_agent::Result<String> {
    Ok(input)
}
