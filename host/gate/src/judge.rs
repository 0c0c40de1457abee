//! What policy says, and the least that the gate itself insists on.

use std::sync::Arc;

use crate::policy::{Answer, Policy, Step};
use crate::question::Question;

/// The name under which the gate's own rule stands among the policies that decided.
pub const LABELLED_EGRESS: &str = "gate:labelled-egress";

/// How many people an action needs: what the policy says, and never fewer than one where data that
/// must not leave may be carried out by somebody who has read instructions from outside.
pub(crate) fn judge(policy: &Policy, question: Question) -> Arc<Answer> {
    let least = least(&question);
    raised(policy.answer(question), least)
}

/// The same without remembering the answer.
pub(crate) fn consider(policy: &Policy, question: &Question) -> Answer {
    let answer = Arc::new(policy.evaluate(question));
    Arc::unwrap_or_clone(raised(answer, least(question)))
}

/// What is said with each number of approvals, from none on.
pub(crate) fn steps(policy: &Policy, question: &Question) -> Vec<Step> {
    let least = least(question);
    let mut steps = policy.steps(question);
    for step in &mut steps {
        if step.permitted && step.approvals < least {
            step.permitted = false;
            step.policies = vec![LABELLED_EGRESS.to_owned()];
        }
    }
    steps
}

/// How many people the gate insists on.
fn least(question: &Question) -> u32 {
    u32::from(question.carries_labelled_data_out())
}

fn raised(answer: Arc<Answer>, least: u32) -> Arc<Answer> {
    match &*answer {
        Answer::Permitted {
            approvals,
            policies,
        } if *approvals < least => {
            let mut policies = policies.clone();
            policies.push(LABELLED_EGRESS.to_owned());
            Arc::new(Answer::Permitted {
                approvals: least,
                policies,
            })
        }
        _ => answer,
    }
}
