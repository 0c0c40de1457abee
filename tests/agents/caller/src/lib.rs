//! Calls another agent in every way there is.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
enum Input {
    /// Answers what the peer answers.
    Call { peer: String, input: Value },
    /// Answers what the peer answers, or `{"failure": {"code", "message"}}` if it failed in its own terms,
    /// or `{"error": "<code>"}` if it could not be called.
    Try { peer: String, input: Value },
    /// Starts `times` calls before it waits for the first, and answers the list of answers.
    Fan {
        peer: String,
        input: Value,
        times: usize,
    },
    /// Answers what the peer says of itself.
    Card { peer: String },
    /// Answers the names of the agents it may call.
    Peers,
}

export!(invoke);

fn invoke(input: Input) -> Result<Value> {
    match input {
        Input::Call { peer, input } => bus::peer(peer)?.call(&input)?.json(),
        Input::Try { peer, input } => match bus::peer(peer).and_then(|peer| peer.call(&input)) {
            Ok(reply) => reply.json(),
            Err(Error::Failure(failure)) => Ok(json!({ "failure": failure })),
            Err(error) => Ok(json!({ "error": error.code() })),
        },
        Input::Fan { peer, input, times } => {
            let peer = bus::peer(peer)?;
            let pending: Vec<_> = (0..times)
                .map(|_| peer.start(&input))
                .collect::<Result<_>>()?;
            pending
                .into_iter()
                .map(|pending| pending.wait()?.json::<Value>())
                .collect()
        }
        Input::Card { peer } => {
            let card = bus::peer(peer)?.card();
            Ok(
                json!({ "name": card.name, "summary": card.summary, "tags": card.tags, "input_schema": card.input_schema }),
            )
        }
        Input::Peers => Ok(json!(
            bus::peers()?
                .into_iter()
                .map(|card| card.name)
                .collect::<Vec<_>>()
        )),
    }
}
