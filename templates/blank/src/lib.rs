//! Greets. Replace the types and the body of `invoke`; list in `agent.toml` what the code uses.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    greeting: String,
}

#[derive(Deserialize)]
struct Input {
    name: String,
}

#[derive(Serialize)]
struct Output {
    greeting: String,
}

export!(invoke);

fn invoke(input: Input) -> Result<Output> {
    let config: Config = config::get()?;
    Ok(Output {
        greeting: format!("{}, {}!", config.greeting, input.name),
    })
}
