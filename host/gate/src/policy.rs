//! Policies: Cedar, validated against the host's schema, and asked how many people an action needs.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use nexus_manifest::{Digest, error_chain};
use serde::{Deserialize, Serialize};

use crate::EffectClass;
use crate::question::Question;
use crate::raise::{Raises, class_named};
use crate::shape;
use crate::sight::Sight;

/// The schema every policy is validated against.
pub const SCHEMA: &str = include_str!("../policy/nexus.cedarschema");

/// The text of the shipped policy.
pub const SHIPPED: &str = include_str!("../policy/default.cedar");

/// The most people that an action may need.
pub const MAX_APPROVALS: u32 = 2;

/// Answers kept; a policy is a pure function of the question, so an answer never grows old.
const CACHED_ANSWERS: usize = 4096;
/// Bytes of stack for parsing and validating a text of the shape that is accepted.
const PARSING_STACK: usize = 32 << 20;
/// Bytes of stack for one evaluation; policies are validated not to nest deeper than the engine allows.
const EVALUATION_STACK: usize = 1 << 20;

/// The hash of the policy text, part of what an approval is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyVersion(Digest);

impl PolicyVersion {
    /// The version with this hash.
    pub fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The version of this text.
    pub(crate) fn of(text: &str) -> Self {
        Self(Digest::of(text.as_bytes()))
    }

    /// The hash.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It does not parse.
    #[error("the policy does not parse: {0}")]
    Syntax(String),
    /// It does not fit the schema.
    #[error("the policy does not fit the schema: {}", .0.join("; "))]
    Schema(Vec<String>),
    /// Two policies have one `@id`.
    #[error("two policies have the id {0:?}")]
    DuplicateId(String),
    /// A rule that names a class is not written as one.
    #[error("the policy {id:?} names a class: {why}")]
    Class {
        /// Which.
        id: String,
        /// What to write.
        why: String,
    },
    /// It has templates, which have nothing here to be linked with.
    #[error("the policy has the template {0:?}; write it for a named principal and resource")]
    Template(String),
}

/// What a policy says of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may happen once so many people have approved.
    Permitted {
        /// How many: 0, 1 or 2.
        approvals: u32,
        /// The policies that decided, by `@id`.
        policies: Vec<String>,
    },
    /// It may not happen, whoever approves.
    Refused {
        /// The policies that forbid it; empty if none permits it.
        policies: Vec<String>,
        /// Policies that could not be evaluated: their error refuses.
        errors: Vec<String>,
    },
}

/// What a policy says of a question with a number of approvals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The number.
    pub approvals: u32,
    /// Whether it may happen then.
    pub permitted: bool,
    /// The policies that decided: those that permit, or those that forbid.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated: their error refuses.
    pub errors: Vec<String>,
}

impl Answer {
    /// Whether the policy could not be evaluated, which says nothing of the next time.
    fn is_error(&self) -> bool {
        matches!(self, Self::Refused { errors, .. } if !errors.is_empty())
    }
}

/// A policy, parsed and validated. Evaluation is a pure function of the question.
pub struct Policy {
    version: PolicyVersion,
    text: String,
    policies: PolicySet,
    /// The rules that say how far an action reaches.
    raises: Option<Raises>,
    entities: Entities,
    schema: Schema,
    authorizer: Authorizer,
    types: Types,
    sight: Sight,
    answers: RwLock<HashMap<Question, Arc<Answer>>>,
}

struct Types {
    agent: EntityTypeName,
    target: EntityTypeName,
    action: EntityTypeName,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What Cedar found, after the line in which it found it.
fn located<E: Diagnostic + std::error::Error>(text: &str, error: &E) -> String {
    match place(error).and_then(|(offset, _)| text.get(..offset)) {
        Some(before) => format!("line {}: {error}", before.matches('\n').count() + 1),
        None => error.to_string(),
    }
}

/// Where Cedar found something: the offset and the length in bytes.
fn place(error: &dyn Diagnostic) -> Option<(usize, usize)> {
    let label = error.labels()?.next()?;
    Some((label.offset(), label.len()))
}

impl Policy {
    /// The policy that NEXUS ships: reads and internal effects within the manifest are free, what
    /// leaves the host needs a person.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).expect("the shipped policy is checked by the tests of this crate")
    }

    /// A policy from its Cedar text, which must fit the schema.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        shape::check(text).map_err(PolicyError::Syntax)?;
        stacker::grow(PARSING_STACK, || Self::parse_here(text))
    }

    fn parse_here(text: &str) -> Result<Self, PolicyError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| PolicyError::Syntax(error_chain(&error)))?;
        let parsed: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            let found: Vec<_> = errors.iter().map(|error| located(text, error)).collect();
            PolicyError::Syntax(found.join("; "))
        })?;
        if let Some(template) = parsed.templates().next() {
            return Err(PolicyError::Template(template.id().to_string()));
        }
        let (mut policies, mut all) = (PolicySet::new(), PolicySet::new());
        let (mut raising, mut classes) = (PolicySet::new(), HashMap::new());
        for policy in parsed.policies() {
            let id = policy
                .annotation("id")
                .unwrap_or_else(|| policy.id().as_ref())
                .to_owned();
            let policy = policy.new_id(PolicyId::new(&id));
            let twice = |_| PolicyError::DuplicateId(id.clone());
            all.add(policy.clone()).map_err(twice)?;
            match class_named(&policy)? {
                None => policies.add(policy).map_err(twice)?,
                Some(class) => {
                    raising.add(policy).map_err(twice)?;
                    classes.insert(id, class);
                }
            }
        }
        let result = Validator::new(schema.clone()).validate(&all, ValidationMode::Strict);
        if !result.validation_passed() {
            let mut found: Vec<_> = result
                .validation_errors()
                .map(|error| (place(error), located(text, error)))
                .collect();
            found.sort();
            // At one place the same is found for each action that the rule is about.
            found.dedup_by(|next, first| next.0.is_some() && next.0 == first.0);
            let found = found.into_iter().map(|(_, found)| found).collect();
            return Err(PolicyError::Schema(found));
        }
        let entities = schema
            .action_entities()
            .map_err(|error| PolicyError::Syntax(error.to_string()))?;
        let entity_type = |name: &str| {
            name.parse::<EntityTypeName>()
                .map_err(|error| PolicyError::Syntax(error.to_string()))
        };
        Ok(Self {
            version: PolicyVersion::of(text),
            text: text.to_owned(),
            types: Types {
                agent: entity_type("Agent")?,
                target: entity_type("Target")?,
                action: entity_type("Action")?,
            },
            sight: Sight::of(&policies)?,
            raises: Raises::new(raising, classes)?,
            policies,
            entities,
            schema,
            authorizer: Authorizer::new(),
            answers: RwLock::default(),
        })
    }

    /// The hash of the text.
    pub fn version(&self) -> PolicyVersion {
        self.version
    }

    /// The text, as it was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// At least how far the action reaches, as the rules say that name a class.
    pub fn class(&self, question: impl FnOnce() -> Question) -> EffectClass {
        let Some(raises) = &self.raises else {
            return EffectClass::Read;
        };
        raises.class(question(), |question| {
            stacker::maybe_grow(EVALUATION_STACK, EVALUATION_STACK, || {
                let request = self.request(question, 0)?;
                let authorizer = &self.authorizer;
                Ok(authorizer.is_authorized(&request, &raises.policies, &self.entities))
            })
        })
    }

    /// How many people the action needs: the first of 0, 1 and 2 that permits it.
    pub fn answer(&self, mut question: Question) -> Arc<Answer> {
        // What no policy looks at does not tell questions apart.
        self.sight.narrow(&mut question);
        let known = self
            .answers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&question)
            .cloned();
        if let Some(answer) = known {
            return answer;
        }
        let answer = Arc::new(self.evaluate(&question));
        if answer.is_error() {
            return answer;
        }
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        // Bounded by forgetting all: simpler than an order of use, and refilled in microseconds.
        if answers.len() >= CACHED_ANSWERS {
            answers.clear();
        }
        answers.insert(question, answer.clone());
        answer
    }

    /// The same without remembering the answer.
    pub fn evaluate(&self, question: &Question) -> Answer {
        // The policy engine measures how much of the thread's stack is left. A guest's call comes on the
        // stack of its own fibre, where that measure means nothing: it may then get one it can measure.
        stacker::maybe_grow(EVALUATION_STACK, EVALUATION_STACK, || {
            self.evaluate_here(question)
        })
    }

    fn evaluate_here(&self, question: &Question) -> Answer {
        let mut forbidding = BTreeSet::new();
        for approvals in 0..=MAX_APPROVALS {
            let step = self.step(question, approvals);
            if !step.errors.is_empty() {
                return Answer::Refused {
                    policies: step.policies,
                    errors: step.errors,
                };
            }
            if step.permitted {
                // What forbade it with fewer approvals is part of why a person is asked.
                forbidding.extend(step.policies);
                return Answer::Permitted {
                    approvals,
                    policies: forbidding.into_iter().collect(),
                };
            }
            if approvals == MAX_APPROVALS {
                return Answer::Refused {
                    policies: step.policies,
                    errors: Vec::new(),
                };
            }
            forbidding.extend(step.policies);
        }
        Answer::Refused {
            policies: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// What the policy says with each number of approvals, from none on.
    pub fn steps(&self, question: &Question) -> Vec<Step> {
        stacker::maybe_grow(EVALUATION_STACK, EVALUATION_STACK, || {
            (0..=MAX_APPROVALS)
                .map(|approvals| self.step(question, approvals))
                .collect()
        })
    }

    fn step(&self, question: &Question, approvals: u32) -> Step {
        let request = match self.request(question, approvals) {
            Ok(request) => request,
            Err(error) => {
                return Step {
                    approvals,
                    permitted: false,
                    policies: Vec::new(),
                    errors: vec![error],
                };
            }
        };
        let response = self
            .authorizer
            .is_authorized(&request, &self.policies, &self.entities);
        let diagnostics = response.diagnostics();
        let errors: Vec<String> = diagnostics
            .errors()
            .map(|error| error.to_string())
            .collect();
        let policies: BTreeSet<String> = diagnostics.reason().map(|id| id.to_string()).collect();
        Step {
            approvals,
            permitted: errors.is_empty() && response.decision() == Decision::Allow,
            policies: policies.into_iter().collect(),
            errors,
        }
    }

    /// The ids of all policies, with whether each permits or forbids.
    pub fn rules(&self) -> Vec<(String, bool)> {
        let mut rules: Vec<_> = self
            .policies
            .policies()
            .chain(
                self.raises
                    .iter()
                    .flat_map(|raises| raises.policies.policies()),
            )
            .map(|policy| (policy.id().to_string(), policy.effect() == Effect::Permit))
            .collect();
        rules.sort();
        rules
    }

    fn request(&self, question: &Question, approvals: u32) -> Result<Request, String> {
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let entity = |kind: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        let agents = question
            .chain
            .iter()
            .map(|agent| RestrictedExpression::new_entity_uid(entity(&self.types.agent, agent)));
        let mut pairs = vec![
            (
                "approvals",
                RestrictedExpression::new_long(i64::from(approvals)),
            ),
            ("class", text(question.class)),
            ("chain_class", text(question.chain_class)),
            (
                "first_use",
                RestrictedExpression::new_bool(question.first_use),
            ),
            (
                "high_entropy",
                RestrictedExpression::new_bool(question.high_entropy),
            ),
            ("capability", text(question.capability)),
            ("verb", text(&question.verb)),
            ("component", text(&question.component.to_string())),
            ("person", text(&question.person)),
            ("origin", text(question.origin)),
            (
                "depth",
                RestrictedExpression::new_long(question.chain.len() as i64),
            ),
            ("chain", RestrictedExpression::new_set(agents)),
            (
                "labels",
                RestrictedExpression::new_set(question.labels.iter().map(|label| text(label))),
            ),
            ("host_kind", text(question.host_kind)),
            (
                "free_permissions",
                RestrictedExpression::new_bool(question.free_permissions),
            ),
        ];
        if let Some(url) = &question.url {
            pairs.extend([
                ("scheme", text(url.scheme)),
                ("host", text(&url.host)),
                ("port", RestrictedExpression::new_long(i64::from(url.port))),
                ("path", text(&url.path)),
            ]);
        }
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        Request::new(
            entity(&self.types.agent, &question.agent),
            entity(&self.types.action, question.action),
            entity(&self.types.target, &question.target),
            context,
            Some(&self.schema),
        )
        .map_err(|error| error.to_string())
    }
}
