//! What would become of an action, without doing or recording any of it.

use crate::judge::{consider, steps};
use crate::policy::{Answer, PolicyVersion, Step};
use crate::question::{Facts, Question};
use crate::{Action, EffectClass, Gate, kind};

/// What the gate would say of an action, part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The policy that was asked.
    pub policy: PolicyVersion,
    /// How far the action reaches, as the host sees it.
    pub class: EffectClass,
    /// What the manifest lacks, if it does not cover the action.
    pub uncovered: Option<String>,
    /// What stands against it that no policy can lift.
    pub blocked: Option<String>,
    /// What the policy sees beside the words of the action.
    pub facts: Facts,
    /// Whether a long value without a pattern is in target or headers.
    pub high_entropy: bool,
    /// What the policy says.
    pub answer: Answer,
    /// What it says with each number of approvals, from none on.
    pub steps: Vec<Step>,
    /// A person would be asked, and the invocation has none.
    pub unattended: bool,
}

impl Gate {
    /// Tells what would become of an action. Changes nothing and records nothing.
    pub fn explain(&self, mut action: Action) -> Explanation {
        let policy = self.policy();
        let known = kind::find(action.kind, action.capability, &action.verb);
        let facts = self.inner.known.look(&action).facts;
        let uncovered = match known {
            Some(known) => {
                action.class = action.class.max((known.class_of)(&action));
                if (known.raisable)() {
                    let named = policy.class(|| Question::of(&action, facts));
                    action.class = action.class.max(named);
                }
                (known.covered)(&action).err()
            }
            None => Some("there is no such action".to_owned()),
        };
        let question = Question::of(&action, facts);
        let answer = consider(&policy, &question);
        let asks = matches!(&answer, Answer::Permitted { approvals, .. } if *approvals > 0);
        Explanation {
            policy: policy.version(),
            class: action.class,
            uncovered,
            blocked: self.inner.floor.check(&action).err(),
            facts,
            high_entropy: question.high_entropy,
            steps: steps(&policy, &question),
            unattended: asks && self.inner.is_unattended(action.context.root),
            answer,
        }
    }
}
