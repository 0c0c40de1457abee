//! Rules of a policy that say how far an action reaches: `@class("irreversible") forbid (...)` forbids
//! to take it for anything less.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cedar_policy::{Effect, Policy, PolicySet, Response};

use crate::EffectClass;
use crate::policy::PolicyError;
use crate::question::Question;
use crate::sight::Sight;

/// Answers kept; forgotten all at once when there are more.
const CACHED: usize = 4096;

/// The rules, apart from those that permit and forbid.
pub(crate) struct Raises {
    pub(crate) policies: PolicySet,
    classes: HashMap<String, EffectClass>,
    sight: Sight,
    known: RwLock<HashMap<Question, EffectClass>>,
}

/// The class that a rule names, if it is one of these.
pub(crate) fn class_named(policy: &Policy) -> Result<Option<EffectClass>, PolicyError> {
    let Some(text) = policy.annotation("class") else {
        return Ok(None);
    };
    let refuse = |why: &str| PolicyError::Class {
        id: policy.id().to_string(),
        why: why.to_owned(),
    };
    // Whoever does not know the annotation then forbids; a permit would let through.
    if policy.effect() != Effect::Forbid {
        return Err(refuse(
            "write it as a `forbid`: it forbids to take an action for less",
        ));
    }
    match text {
        "internal" => Ok(Some(EffectClass::Internal)),
        "external" => Ok(Some(EffectClass::External)),
        "irreversible" => Ok(Some(EffectClass::Irreversible)),
        _ => Err(refuse(
            "a class is \"internal\", \"external\" or \"irreversible\"",
        )),
    }
}

impl Raises {
    /// `None` if there is no such rule, so that most policies pay nothing for them.
    pub(crate) fn new(
        policies: PolicySet,
        classes: HashMap<String, EffectClass>,
    ) -> Result<Option<Self>, PolicyError> {
        if classes.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            sight: Sight::of(&policies)?,
            policies,
            classes,
            known: RwLock::default(),
        }))
    }

    /// The class that the rules give, asked once for each question that they tell apart.
    pub(crate) fn class(
        &self,
        mut question: Question,
        ask: impl FnOnce(&Question) -> Result<Response, String>,
    ) -> EffectClass {
        self.sight.narrow(&mut question);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known.get(&question) {
            return *class;
        }
        drop(known);
        let response = match ask(&question) {
            Ok(response) if response.diagnostics().errors().next().is_none() => response,
            // What can't be evaluated is taken for the gravest.
            _ => return EffectClass::Irreversible,
        };
        let class = response
            .diagnostics()
            .reason()
            .filter_map(|id| self.classes.get(&id.to_string()))
            .max()
            .copied()
            .unwrap_or(EffectClass::Read);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED {
            known.clear();
        }
        known.insert(question, class);
        class
    }
}
