//! A component tried with an example: reads are answered with what the example says, writes are
//! written down and happen to nobody. In a shadow run reads are real, as far as nobody has to be
//! asked for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_gate::{Action, Context, Principal, RootOrigin};
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
    /// What it has looked at outside, in a shadow run; likewise.
    pub reads: Vec<String>,
}

/// A run with real reads, and who wants it.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// The input, as JSON text.
    pub input: String,
    /// On whose behalf it reads.
    pub principal: Principal,
    /// What set it going.
    pub root: RootOrigin,
    /// Whether a person has reviewed what the manifest asks for.
    pub reviewed: bool,
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
    /// What was written, and `None` for what was deleted.
    spaces: BTreeMap<(SpaceName, String), Option<Remembered>>,
    revision: u64,
    planned: Lines,
    reads: Lines,
    shadow: bool,
}

/// Some lines, and how many more there were.
#[derive(Debug, Default)]
struct Lines {
    kept: Vec<String>,
    more: usize,
}

impl Lines {
    fn push(&mut self, line: impl FnOnce() -> String) {
        match self.kept.len() < PLANNED {
            true => self.kept.push(line()),
            false => self.more += 1,
        }
    }

    fn told(&self) -> Vec<String> {
        let mut told = self.kept.clone();
        if self.more > 0 {
            told.push(format!("and {} more", self.more));
        }
        told
    }
}

impl Rehearsal {
    fn new(example: &Example, shadow: bool) -> Self {
        let entries = example.entries.iter().cloned();
        Self(Mutex::new(Inner {
            responses: example.responses.clone(),
            answers: example.answers.clone(),
            spaces: entries
                .map(|(space, key, value)| ((space, key), Some((value, 1))))
                .collect(),
            revision: 1,
            planned: Lines::default(),
            reads: Lines::default(),
            shadow,
        }))
    }

    /// Whether reads are real, as far as the gate lets them be.
    pub fn is_shadow(&self) -> bool {
        self.lock().shadow
    }

    /// Writes down what the component would do.
    pub fn plan(&self, action: &Action) {
        self.lock().planned.push(|| line(action));
    }

    /// Writes down what the component could not look at, and why.
    pub fn missed(&self, action: &str, why: &str) {
        let told = || format!("not done: {}: {}", shown(action), shown(why));
        self.lock().planned.push(told);
    }

    /// Writes down what the component has looked at.
    pub fn saw(&self, what: &str) {
        self.lock().reads.push(|| shown(what));
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
        self.written(space, key).flatten()
    }

    /// What the component has made of an entry; `None` if it has not touched it, `Some(None)` if it
    /// has deleted it.
    pub fn written(&self, space: &SpaceName, key: &str) -> Option<Option<Remembered>> {
        let place = (space.clone(), key.to_owned());
        self.lock().spaces.get(&place).cloned()
    }

    /// Sets an entry, for this rehearsal alone.
    pub fn put(&self, space: &SpaceName, key: &str, value: Vec<u8>) -> u64 {
        let mut inner = self.lock();
        inner.revision += 1;
        let revision = inner.revision;
        let place = (space.clone(), key.to_owned());
        inner.spaces.insert(place, Some((value, revision)));
        revision
    }

    /// Removes an entry, for this rehearsal alone.
    pub fn delete(&self, space: &SpaceName, key: &str) {
        let place = (space.clone(), key.to_owned());
        self.lock().spaces.insert(place, None);
    }

    /// What the component has made of the entries of a space whose keys begin so, in order.
    pub fn touched(
        &self,
        space: &SpaceName,
        prefix: &str,
        after: Option<&str>,
    ) -> Vec<(String, Option<Remembered>)> {
        let inner = self.lock();
        let all = inner.spaces.iter().filter(|((of, key), _)| {
            of == space && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        });
        all.map(|((_, key), entry)| (key.clone(), entry.clone()))
            .collect()
    }

    /// The entries of a space whose keys begin so, in order, at most `limit`.
    pub fn scan(
        &self,
        space: &SpaceName,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Remembered)> {
        let all = self.touched(space, prefix, after).into_iter();
        let there = all.filter_map(|(key, entry)| Some((key, entry?)));
        there.take(limit).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An action in a line: what, where to, and with which bytes.
fn line(action: &Action) -> String {
    let mut line = format!("{} {} {}", action.capability, action.verb, action.target);
    for part in &action.payload.parts {
        line.push(' ');
        line.push_str(&shown(&String::from_utf8_lossy(&part.bytes)));
    }
    line
}

fn shown(text: &str) -> String {
    let mut shown = text[..text.floor_char_boundary(SHOWN)].to_owned();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

impl Runtime {
    /// Runs a component with an example, with every limit of an invocation and without any effect.
    /// The gate refuses whatever such a run asks of it, should a capability ever ask.
    pub async fn rehearse(&self, prepared: &Prepared, example: &Example) -> Rehearsed {
        let nobody = Principal::new(nexus_gate::REHEARSAL);
        let rehearsal = Rehearsal::new(example, false);
        let same = |context: Arc<Context>| context;
        self.run_rehearsal(prepared, &example.input, rehearsal, nobody, same)
            .await
    }

    /// Runs a component with real reads: those that policy calls free for this principal, each an
    /// action at the gate and in its trail. Everything else is written down, and the gate refuses it
    /// should a capability ever ask.
    pub async fn shadow(&self, prepared: &Prepared, shadow: &Shadow) -> Rehearsed {
        let rehearsal = Rehearsal::new(&Example::default(), true);
        let looking = |context: Arc<Context>| {
            Arc::new(Context {
                root: shadow.root,
                reviewed: shadow.reviewed,
                shadow: true,
                ..(*context).clone()
            })
        };
        let principal = shadow.principal.clone();
        self.run_rehearsal(prepared, &shadow.input, rehearsal, principal, looking)
            .await
    }

    async fn run_rehearsal(
        &self,
        prepared: &Prepared,
        input: &str,
        rehearsal: Rehearsal,
        principal: Principal,
        context_of: impl FnOnce(Arc<Context>) -> Arc<Context>,
    ) -> Rehearsed {
        let loaded = &prepared.loaded;
        let rehearsal = Arc::new(rehearsal);
        let (invocation, context) = Self::trial_of(loaded, prepared.digest, principal);
        let mut state = State::new(
            self.clone(),
            Arc::clone(&invocation),
            context_of(context),
            &loaded.limits,
            false,
        );
        state.rehearse(Arc::clone(&rehearsal));
        let input = Some(input.to_owned());
        let outcome = self
            .guarded(&invocation, self.run_guest(loaded, state, input))
            .await;
        let inner = rehearsal.lock();
        Rehearsed {
            outcome: self.judged(outcome, &loaded.manifest, &loaded.limits),
            planned: inner.planned.told(),
            reads: inner.reads.told(),
        }
    }
}
