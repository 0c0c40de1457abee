//! A component tried with an example: reads are answered with what the example says, writes are
//! written down and happen to nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_gate::{Action, Principal};
use nexus_manifest::{AgentName, Method, SpaceName};

use crate::outcome::Outcome;
use crate::prepare::Prepared;
use crate::runtime::Runtime;
use crate::state::State;

/// Writes that a rehearsal keeps; more than these are counted.
const PLANNED: usize = 20;
/// Bytes of a text that are kept of each.
const SHOWN: usize = 300;

/// One input, and the world that the component meets with it.
#[derive(Debug, Clone, Default)]
pub struct Example {
    /// The input, as JSON text.
    pub input: String,
    /// What other hosts answer, each to the same request in this order; the last is repeated.
    pub responses: Vec<Recorded>,
    /// What other agents answer, as JSON text. Any other answers `null`.
    pub answers: BTreeMap<AgentName, String>,
    /// What memory holds.
    pub entries: Vec<(SpaceName, String, Vec<u8>)>,
}

/// What another host answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The request's method.
    pub method: Method,
    /// The request's URL.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// What came of a rehearsal.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// How the component ended.
    pub outcome: Outcome,
    /// What it would have done, one line each, in its order.
    pub planned: Vec<String>,
}

/// A memory entry and its revision.
pub type Remembered = (Vec<u8>, u64);

/// The world of one rehearsal. Capabilities ask it instead of the gate; it makes no permit.
#[derive(Debug)]
pub struct Rehearsal(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    responses: Vec<Recorded>,
    answers: BTreeMap<AgentName, String>,
    spaces: BTreeMap<(SpaceName, String), Remembered>,
    revision: u64,
    planned: Vec<String>,
    more: usize,
}

impl Rehearsal {
    fn new(example: &Example) -> Self {
        let entries = example.entries.iter().cloned();
        Self(Mutex::new(Inner {
            responses: example.responses.clone(),
            answers: example.answers.clone(),
            spaces: entries
                .map(|(space, key, value)| ((space, key), (value, 1)))
                .collect(),
            revision: 1,
            planned: Vec::new(),
            more: 0,
        }))
    }

    /// Writes down what the component would do.
    pub fn plan(&self, action: &Action) {
        let mut inner = self.lock();
        if inner.planned.len() == PLANNED {
            inner.more += 1;
            return;
        }
        let mut line = format!("{} {} {}", action.capability, action.verb, action.target);
        for part in &action.payload.parts {
            let text = String::from_utf8_lossy(&part.bytes);
            line.push(' ');
            line.push_str(&text[..text.floor_char_boundary(SHOWN)]);
            if text.len() > SHOWN {
                line.push('…');
            }
        }
        inner.planned.push(line);
    }

    /// What another host answers: what was recorded, or an empty JSON object.
    pub fn response(&self, method: Method, url: &str) -> Recorded {
        let mut inner = self.lock();
        let same = |recorded: &Recorded| recorded.method == method && recorded.url == url;
        let mut places = inner.responses.iter().enumerate();
        let first = places.by_ref().find(|(_, recorded)| same(recorded));
        let again = places.any(|(_, recorded)| same(recorded));
        match first.map(|(place, recorded)| (place, recorded.clone())) {
            Some((place, _)) if again => inner.responses.remove(place),
            Some((_, recorded)) => recorded,
            None => Recorded {
                method,
                url: url.to_owned(),
                status: 200,
                content_type: "application/json".to_owned(),
                body: "{}".to_owned(),
            },
        }
    }

    /// What another agent answers.
    pub fn answer(&self, peer: &AgentName) -> String {
        let inner = self.lock();
        let answer = inner.answers.get(peer).cloned();
        answer.unwrap_or_else(|| "null".to_owned())
    }

    /// An entry of memory.
    pub fn get(&self, space: &SpaceName, key: &str) -> Option<Remembered> {
        let place = (space.clone(), key.to_owned());
        self.lock().spaces.get(&place).cloned()
    }

    /// Sets an entry, for this rehearsal alone.
    pub fn put(&self, space: &SpaceName, key: &str, value: Vec<u8>) -> u64 {
        let mut inner = self.lock();
        inner.revision += 1;
        let revision = inner.revision;
        let place = (space.clone(), key.to_owned());
        inner.spaces.insert(place, (value, revision));
        revision
    }

    /// Removes an entry, for this rehearsal alone.
    pub fn delete(&self, space: &SpaceName, key: &str) {
        let place = (space.clone(), key.to_owned());
        self.lock().spaces.remove(&place);
    }

    /// The entries of a space whose keys begin so, in order, at most `limit`.
    pub fn scan(
        &self,
        space: &SpaceName,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Remembered)> {
        let inner = self.lock();
        let all = inner.spaces.iter().filter(|((of, key), _)| {
            of == space && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        });
        all.map(|((_, key), entry)| (key.clone(), entry.clone()))
            .take(limit)
            .collect()
    }

    fn planned(&self) -> Vec<String> {
        let inner = self.lock();
        let mut planned = inner.planned.clone();
        if inner.more > 0 {
            planned.push(format!("and {} more", inner.more));
        }
        planned
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime {
    /// Runs a component with an example, with every limit of an invocation and without any effect.
    /// The gate refuses whatever such a run asks of it, should a capability ever ask.
    pub async fn rehearse(&self, prepared: &Prepared, example: &Example) -> Rehearsed {
        let loaded = &prepared.loaded;
        let rehearsal = Arc::new(Rehearsal::new(example));
        let nobody = Principal::new(nexus_gate::REHEARSAL);
        let (invocation, context) = Self::trial_of(loaded, prepared.digest, nobody);
        let mut state = State::new(
            self.clone(),
            Arc::clone(&invocation),
            context,
            &loaded.limits,
            false,
        );
        state.rehearse(Arc::clone(&rehearsal));
        let input = Some(example.input.clone());
        let outcome = self
            .guarded(&invocation, self.run_guest(loaded, state, input))
            .await;
        Rehearsed {
            outcome: self.judged(outcome, &loaded.manifest, &loaded.limits),
            planned: rehearsal.planned(),
        }
    }
}
