//! What policy says, and the least that the gate itself insists on.

use std::sync::Arc;

use crate::ActionKind;
use crate::policy::{Answer, Policy, Step};
use crate::question::Question;

/// The name under which the gate's own rule stands among the policies that decided.
pub const LABELLED_EGRESS: &str = "gate:labelled-egress";

/// The same for the rule that a secret is shown to an agent by a person's word alone.
pub const REVEAL: &str = "gate:reveal";

/// The same for the rule that permissions are widened by people.
pub const WIDENED_PERMISSIONS: &str = "gate:widened-permissions";

/// The same for the rule that what was tried with real reads is published by people.
pub const SHADOW_RUN: &str = "gate:shadow-run";

/// How many people an action needs: what the policy says, and never fewer than one where a secret is
/// shown to an agent, where an agent is to be allowed more than before, or where data that must not leave may be carried out by somebody who has read
/// instructions from outside.
pub(crate) fn judge(policy: &Policy, question: Question) -> Arc<Answer> {
    let rule = insisting(&question);
    raised(policy.answer(question), rule)
}

/// The same without remembering the answer.
pub(crate) fn consider(policy: &Policy, question: &Question) -> Answer {
    let answer = Arc::new(policy.evaluate(question));
    Arc::unwrap_or_clone(raised(answer, insisting(question)))
}

/// What is said with each number of approvals, from none on.
pub(crate) fn steps(policy: &Policy, question: &Question) -> Vec<Step> {
    let rule = insisting(question);
    let mut steps = policy.steps(question);
    for step in &mut steps {
        if let (Some(rule), true, 0) = (rule, step.permitted, step.approvals) {
            step.permitted = false;
            step.policies = vec![rule.to_owned()];
        }
    }
    steps
}

/// The rule by which the gate insists on one person, if there is one.
fn insisting(question: &Question) -> Option<&'static str> {
    if question.action == ActionKind::Reveal.as_str() {
        Some(REVEAL)
    } else if question.carries_labelled_data_out() {
        Some(LABELLED_EGRESS)
    } else if question.widens {
        Some(WIDENED_PERMISSIONS)
    } else {
        question.shadowed.then_some(SHADOW_RUN)
    }
}

fn raised(answer: Arc<Answer>, rule: Option<&str>) -> Arc<Answer> {
    match (&*answer, rule) {
        (
            Answer::Permitted {
                approvals: 0,
                policies,
            },
            Some(rule),
        ) => {
            let mut policies = policies.clone();
            policies.push(rule.to_owned());
            Arc::new(Answer::Permitted {
                approvals: 1,
                policies,
            })
        }
        _ => answer,
    }
}
