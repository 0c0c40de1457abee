//! Other agents. A peer acts with its own rights, never with the caller's; a cycle of calls is refused.
//!
//! ```no_run
//! use nexus_agent::prelude::*;
//!
//! # fn invoke() -> Result<()> {
//! bus::peer("notifier")?.call(&json!({ "text": "ETH is above 3,000" }))?;
//!
//! let valuer = bus::peer("valuer")?;
//! let total: f64 = valuer.call(&json!({ "owner": "anna" }))?.json()?;
//! # Ok(())
//! # }
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::nexus::agent::bus as wit;
use crate::{Error, Result};

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The name to give to [`peer`].
    pub name: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The JSON Schema of its input, as text.
    pub input_schema: String,
}

/// An agent that this one may call.
#[derive(Debug)]
pub struct Peer {
    name: String,
    handle: wit::Peer,
}

/// A call under way. Start several, then wait for each.
#[derive(Debug)]
pub struct Pending {
    name: String,
    handle: wit::Pending,
}

/// What a peer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    name: String,
    text: String,
}

/// The agent called `name`. Refused unless the manifest lists it or one of its tags.
pub fn peer(name: impl Into<String>) -> Result<Peer> {
    let name = name.into();
    let handle = wit::Peer::find(&name)?;
    Ok(Peer { name, handle })
}

/// The agents that this one may call, those that were forged a moment ago included.
pub fn peers() -> Result<Vec<Card>> {
    Ok(wit::peers()?.into_iter().map(Card::from).collect())
}

impl Peer {
    /// Calls the peer with anything that serde can serialize and waits for its answer.
    /// What the peer returned instead of a result is [`Error::Failure`].
    pub fn call<T: Serialize + ?Sized>(&self, input: &T) -> Result<Reply> {
        self.start(input)?.wait()
    }

    /// Calls the peer with a JSON text and waits for its answer, a JSON text too.
    pub fn call_text(&self, input: impl AsRef<str>) -> Result<String> {
        Ok(self.start_text(input.as_ref())?.wait()?.text)
    }

    /// Starts a call and returns at once.
    pub fn start<T: Serialize + ?Sized>(&self, input: &T) -> Result<Pending> {
        let input = serde_json::to_string(input)
            .map_err(|error| Error::json(format_args!("the input for {}", self.name), &error))?;
        self.start_text(&input)
    }

    /// What the peer says of itself.
    pub fn card(&self) -> Card {
        self.handle.card().into()
    }

    /// The name that it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn start_text(&self, input: &str) -> Result<Pending> {
        Ok(Pending {
            name: self.name.clone(),
            handle: self.handle.call(input)?,
        })
    }
}

impl Pending {
    /// Waits for the answer.
    pub fn wait(self) -> Result<Reply> {
        match wit::Pending::wait(self.handle)? {
            Ok(text) => Ok(Reply {
                name: self.name,
                text,
            }),
            Err(failure) => Err(Error::Failure(failure.into())),
        }
    }
}

impl Reply {
    /// The answer read into `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text)
            .map_err(|error| Error::json(format_args!("the answer of {}", self.name), &error))
    }

    /// The answer as a JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<wit::Card> for Card {
    fn from(card: wit::Card) -> Self {
        Card {
            name: card.name,
            summary: card.summary,
            tags: card.tags,
            input_schema: card.input_schema,
        }
    }
}
