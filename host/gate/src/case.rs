//! Cases that people keep beside their policy: an action, and what the policy has to say of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use nexus_manifest::{AgentName, Digest, Manifest, Method};
use serde::{Deserialize, Deserializer};

use crate::judge::consider;
use crate::policy::{Answer, Policy};
use crate::question::{Facts, Question};
use crate::sketch::{Sketch, SketchError};
use crate::{ActionKind, Context, EffectClass, InvocationId, Label, Principal, RootOrigin, kind};

/// One case. What it leaves out is as harmless as can be.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    /// What it is about, for whoever reads the result.
    pub name: String,
    /// What kind of action it is.
    pub kind: ActionKind,
    /// The agent that acts.
    pub agent: AgentName,
    /// On whose behalf.
    pub person: String,
    /// Where the first call of the chain came from.
    pub origin: RootOrigin,
    /// The agents that called, the first one first.
    pub chain: Vec<AgentName>,
    /// The strictest class among the calls that led here.
    pub chain_class: EffectClass,
    /// The capability.
    pub capability: String,
    /// The verb.
    pub verb: String,
    /// What it is done to.
    pub target: String,
    /// How far it reaches; without it, what an agent without declared reads would have.
    pub class: Option<EffectClass>,
    /// What is known of the data behind it.
    pub labels: BTreeSet<Label>,
    /// Headers, `name: value`.
    pub headers: Vec<String>,
    /// No person has yet seen the agent go there.
    pub first_use: bool,
    /// Of a publication: the manifest holds nothing that a person would be asked about.
    pub free_permissions: bool,
    /// What has to come of it.
    pub expect: Expect,
    /// The policies that have to have decided, in any order; any, if there are none.
    pub policies: BTreeSet<String>,
}

/// What has to come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// So many people are asked.
    Approvals(u32),
    /// It does not happen, whoever approves.
    Forbidden,
}

/// Why a case did not come true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// It describes no action.
    #[error(transparent)]
    Sketch(#[from] SketchError),
    /// The policy says something else.
    #[error("expected {expected}, and it is {actual}, decided by {}", list(.policies))]
    Answer {
        /// What was expected.
        expected: Expect,
        /// What the policy says.
        actual: Expect,
        /// Who decided.
        policies: Vec<String>,
    },
    /// Other policies decided.
    #[error("expected {} to decide, and it was {}", list(.expected), list(.actual))]
    Policies {
        /// Who was expected to.
        expected: Vec<String>,
        /// Who did.
        actual: Vec<String>,
    },
    /// The policy could not be evaluated.
    #[error("the policy could not be evaluated: {}", .0.join("; "))]
    Errors(Vec<String>),
}

fn list(policies: &[String]) -> String {
    if policies.is_empty() {
        "no policy".to_owned()
    } else {
        policies.join(", ")
    }
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: ActionKind::Effect,
            agent: NOBODY.name.clone(),
            person: "person".to_owned(),
            origin: RootOrigin::Interactive,
            chain: Vec::new(),
            chain_class: EffectClass::Read,
            capability: "http".to_owned(),
            verb: "GET".to_owned(),
            target: String::new(),
            class: None,
            labels: BTreeSet::new(),
            headers: Vec::new(),
            first_use: false,
            free_permissions: false,
            expect: Expect::Forbidden,
            policies: BTreeSet::new(),
        }
    }
}

/// Cases name an agent that need not exist, so its permissions are not looked at.
static NOBODY: std::sync::LazyLock<Arc<Manifest>> = std::sync::LazyLock::new(|| {
    let text = "format = 1\nname = \"agent\"\nversion = \"0.1.0\"\nsummary = \"Stands in\"\n";
    Arc::new(Manifest::parse(text).expect("it is tested with every case"))
});

impl Case {
    /// Whether the policy says what is expected.
    pub fn check(&self, policy: &Policy) -> Result<(), Missed> {
        let (actual, policies) = match consider(policy, &self.question(policy)?) {
            Answer::Refused { errors, .. } if !errors.is_empty() => {
                return Err(Missed::Errors(errors));
            }
            Answer::Refused { policies, .. } => (Expect::Forbidden, policies),
            Answer::Permitted {
                approvals,
                policies,
            } => (Expect::Approvals(approvals), policies),
        };
        if actual != self.expect {
            return Err(Missed::Answer {
                expected: self.expect,
                actual,
                policies,
            });
        }
        if !self.policies.is_empty() && !policies.iter().eq(&self.policies) {
            return Err(Missed::Policies {
                expected: self.policies.iter().cloned().collect(),
                actual: policies,
            });
        }
        Ok(())
    }

    fn question(&self, policy: &Policy) -> Result<Question, SketchError> {
        let context = Context {
            agent: self.agent.clone(),
            component: Digest::of(b""),
            manifest: NOBODY.clone(),
            principal: Principal::new(&self.person),
            invocation: InvocationId::new(),
            root: self.origin,
            chain: self.chain.clone(),
            chain_class: self.chain_class,
            reviewed: !self.first_use,
            shadow: false,
            labels: BTreeSet::new(),
        };
        let sketch = Sketch {
            kind: self.kind,
            class: self.class.unwrap_or_else(|| self.usual_class()),
            labels: self.labels.clone(),
            headers: self.headers.clone(),
            ..Sketch::new(&*self.capability, &*self.verb, &*self.target)
        };
        let mut action = sketch.action(Arc::new(context))?;
        let facts = Facts {
            first_use: self.first_use,
        };
        let known = kind::find(self.kind, &self.capability, &self.verb);
        if known.is_some_and(|known| (known.raisable)()) {
            let named = policy.class(|| Question::of(&action, facts));
            action.class = action.class.max(named);
        }
        Ok(Question {
            free_permissions: self.free_permissions,
            ..Question::of(&action, facts)
        })
    }

    fn usual_class(&self) -> EffectClass {
        match (self.kind, self.capability.as_str()) {
            (ActionKind::Publish | ActionKind::Grant, _) if self.free_permissions => {
                EffectClass::Internal
            }
            (ActionKind::Publish | ActionKind::Grant, _) => EffectClass::External,
            (ActionKind::Reveal, _) => EffectClass::Irreversible,
            (_, "http") => match self.verb.parse::<Method>() {
                Ok(method) if method.is_read() => EffectClass::Read,
                _ => EffectClass::External,
            },
            (_, "memory") if !matches!(self.verb.as_str(), "get" | "scan") => EffectClass::Internal,
            (_, "bus") if self.verb == "call" => EffectClass::Internal,
            _ => EffectClass::Read,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approvals(0) => f.write_str("permitted without a question"),
            Self::Approvals(1) => f.write_str("one approval"),
            Self::Approvals(number) => write!(f, "{number} approvals"),
            Self::Forbidden => f.write_str("forbidden"),
        }
    }
}

/// A number of approvals, or `"forbidden"`.
impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Approvals(u32),
            Word(String),
        }
        match Said::deserialize(deserializer)? {
            Said::Approvals(number) if number <= crate::MAX_APPROVALS => {
                Ok(Self::Approvals(number))
            }
            Said::Word(word) if word == "forbidden" => Ok(Self::Forbidden),
            _ => Err(serde::de::Error::custom(
                "expect a number of approvals, 0 to 2, or \"forbidden\"",
            )),
        }
    }
}
