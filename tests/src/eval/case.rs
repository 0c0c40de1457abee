//! What a case says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use crate::guests::root;

/// Stands in words and recorded answers for the origin of the case.
const ORIGIN: &str = "{{origin}}";

/// One request, and how to tell whether it was met.
#[derive(Debug, Clone)]
pub struct Case {
    /// The agent's name.
    pub name: String,
    /// What `case.json` says.
    pub(super) told: Told,
    /// What a good model answers when it is asked for a specification.
    pub(super) spec: String,
    /// And for code: the first attempt, and then the ones after what was found.
    pub(super) codes: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) words: String,
    #[serde(default)]
    pub(super) seeds: Vec<Entry>,
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
    #[serde(default)]
    pub(super) responses: Vec<Recorded>,
    pub(super) steps: Vec<Step>,
}

/// An entry of memory: before the first step, or expected after one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) space: String,
    pub(super) key: String,
    /// As JSON,
    pub(super) value: Option<Value>,
    /// or as text.
    pub(super) text: Option<String>,
    /// It is expected not to be there.
    #[serde(default)]
    pub(super) absent: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) value: String,
}

/// What the origin answers to a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    pub(super) method: String,
    /// Path and query; of the query the order does not matter.
    pub(super) path: String,
    /// Whatever the query is.
    #[serde(default)]
    pub(super) any_query: bool,
    /// What stands in the JSON body, by pointer.
    #[serde(default)]
    pub(super) when: BTreeMap<String, Value>,
    pub(super) status: Option<u16>,
    #[serde(rename = "type")]
    pub(super) content_type: Option<String>,
    pub(super) body: Option<Value>,
    pub(super) text: Option<String>,
}

/// One call of the agent, and what has to come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) input: Value,
    /// What the output holds; other members may be there.
    pub(super) output: Option<Value>,
    /// The code of the failure that it ends with instead.
    pub(super) fails: Option<String>,
    /// Every request that the origin got, as `GET /path`, each once.
    pub(super) requests: Option<Vec<String>>,
    /// Of these, the JSON that the last one of each kind carried.
    #[serde(default)]
    pub(super) bodies: BTreeMap<String, Value>,
    /// Headers of the last request.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The writes that waited for a person, in their order.
    #[serde(default)]
    pub(super) stopped: Vec<String>,
    /// Why the person says no to them; otherwise yes.
    pub(super) deny: Option<String>,
    /// The agents that it called.
    pub(super) calls: Option<Vec<String>>,
    #[serde(default)]
    pub(super) entries: Vec<Entry>,
}

/// All cases, by name.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/forge-eval"))? {
        let path = entry?.path();
        if path.is_dir() {
            cases.push(read(&path).with_context(|| format!("failed to read {}", path.display()))?);
        }
    }
    cases.sort_by(|one: &Case, other| one.name.cmp(&other.name));
    Ok(cases)
}

fn read(directory: &Path) -> anyhow::Result<Case> {
    let text = |name: &str| std::fs::read_to_string(directory.join(name));
    let name = directory.file_name().and_then(|name| name.to_str());
    let first = text("first.rs").ok();
    Ok(Case {
        name: name.context("a name")?.to_owned(),
        told: serde_json::from_str(&text("case.json")?)?,
        spec: text("spec.json")?,
        codes: first.into_iter().chain([text("code.rs")?]).collect(),
    })
}

impl Case {
    /// How often the recorded model has to try until its code is good.
    pub fn attempts(&self) -> usize {
        self.codes.len()
    }

    /// Has the recorded model write something else.
    pub fn spoil(&mut self, good: &str, bad: &str) {
        for code in &mut self.codes {
            *code = code.replace(good, bad);
        }
    }

    /// The words, for an origin that is there.
    pub(super) fn words(&self, origin: &str) -> String {
        self.told.words.replace(ORIGIN, origin)
    }

    pub(super) fn spec(&self, origin: &str) -> String {
        format!("```json\n{}```", self.spec.replace(ORIGIN, origin))
    }

    /// The answer to the question for code that comes after so many refused ones.
    pub(super) fn code(&self, origin: &str, refused: usize) -> String {
        let code = &self.codes[refused.min(self.codes.len() - 1)];
        format!("```rust\n{}```", code.replace(ORIGIN, origin))
    }

    /// The agents that have to be there for it.
    pub(super) fn peers(&self) -> impl Iterator<Item = &String> {
        self.told
            .steps
            .iter()
            .flat_map(|step| step.calls.iter().flatten())
    }
}
