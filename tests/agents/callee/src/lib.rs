//! Answers calls of other agents: it greets, fails in its own terms, or says what it may call itself.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
enum Input {
    /// Answers `{"greeting": "hello, <name>"}`.
    Greet { name: String },
    /// Returns a failure with this code.
    Fail { code: String },
    /// Answers the names of its peers.
    Peers,
    /// Calls a peer with an input: for chains and cycles.
    Call { peer: String, input: Value },
}

export!(invoke);

fn invoke(input: Input) -> Result<Value> {
    match input {
        Input::Greet { name } => Ok(json!({ "greeting": format!("hello, {name}") })),
        Input::Fail { code } => fail!(code, "asked to fail"),
        Input::Peers => Ok(json!(
            bus::peers()?
                .into_iter()
                .map(|card| card.name)
                .collect::<Vec<_>>()
        )),
        Input::Call { peer, input } => bus::peer(peer)?.call(&input)?.json(),
    }
}
