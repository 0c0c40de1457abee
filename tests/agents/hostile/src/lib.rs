//! Runs into one limit of the host at a time: `{"do": "<behaviour>"}`. README.md says which limit each one meets.

mod exhaust;
mod flood;
mod observe;
mod paths;

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    #[serde(rename = "do")]
    behaviour: String,
    /// How often, where a behaviour counts.
    #[serde(default)]
    times: Option<usize>,
    /// Whom to read from, where a behaviour reads.
    #[serde(default)]
    url: Option<String>,
    /// A directory of the host's, where a behaviour tries to reach one.
    #[serde(default)]
    path: Option<String>,
}

nexus_agent::export_raw!(invoke);

fn invoke(input: String) -> Result<String> {
    let input: Input = serde_json::from_str(&input)?;
    match input.behaviour.as_str() {
        "cpu-loop" => exhaust::cpu(),
        "memory-one" => exhaust::memory_in_one_piece(),
        "memory-many" => exhaust::memory_in_many_pieces(),
        "stack" => Ok(exhaust::stack(1).to_string()),
        "frames" => Ok(exhaust::frames(1).to_string()),
        "sleep" => exhaust::wall(),
        "panic" => panic!("as asked"),
        "exit" => std::process::exit(3),
        "output" => Ok(exhaust::big_json()),
        "output-not-json" => Ok("{not json".to_owned()),
        "output-deep" => Ok("[".repeat(100_000) + &"]".repeat(100_000)),
        "failure" => fail!("NOT a Code\n", "{}", exhaust::big_json()),
        "log-flood" => flood::log(),
        "log-big" => flood::log_big(),
        "progress-odd" => flood::progress(),
        "stdout-flood" => flood::stdout(),
        "calls-flood" => flood::calls(),
        "handles-flood" => flood::handles(input.times.unwrap_or(2_000)),
        "handles-churn" => flood::churn(input.times.unwrap_or(20_000)),
        "put-big" => flood::put_big(),
        "key-big" => flood::key_big(),
        "headers-flood" => flood::headers(url(&input), input.times.unwrap_or(10_000)),
        "pending-flood" => flood::pending(url(&input), input.times.unwrap_or(2_000)),
        "look-around" => observe::world(),
        "paths" => paths::all(input.path.as_deref().unwrap_or("/tmp")),
        "random-clock" => observe::randomness_and_clock(),
        other => fail!("bad-input", "there is no behaviour {other}"),
    }
}

fn url(input: &Input) -> &str {
    input
        .url
        .as_deref()
        .unwrap_or("https://hostile.example.com/")
}
