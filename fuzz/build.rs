//! Lists the request messages of the contract, so that each is a target.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/nexus/v1");
    println!("cargo::rerun-if-changed={}", protos.display());
    let mut requests = BTreeSet::new();
    for entry in fs::read_dir(&protos)? {
        let text = fs::read_to_string(entry?.path())?;
        // rpc GetAgent(GetAgentRequest) returns (Agent)
        for (at, _) in text.match_indices("\n  rpc ") {
            let request = text[at..].split(['(', ')']).nth(1).unwrap_or_default();
            requests.insert(request.trim_start_matches("stream ").trim().to_owned());
        }
    }
    let mut list = String::from("&[\n");
    for request in requests {
        writeln!(list, "    (\"{request}\", check::<v1::{request}>),")?;
    }
    list.push(']');
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("requests.rs"), list)?;
    Ok(())
}
