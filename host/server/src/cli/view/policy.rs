use nexus_proto::v1::{Explanation, Policy, explanation::Result};

use crate::cli::text::{block, fields, time, word};

/// The policy as it is, so that it can be kept in a file.
pub(crate) fn full(policy: &Policy) -> String {
    block(&policy.text)
}

/// What is known of a policy, without its text.
pub(crate) fn summary(policy: &Policy) -> String {
    fields([
        ("version", policy.version.clone()),
        ("source", word(policy.source().as_str_name(), "SOURCE_")),
        ("by", policy.principal.clone()),
        ("since", time(policy.update_time.as_ref())),
        ("etag", policy.etag.clone()),
        ("rules", policy.rules.join(", ")),
    ])
}

/// A file that is a policy.
pub(crate) fn checked(version: &str, rules: &[String]) -> String {
    fields([("version", version.to_owned()), ("rules", rules.join(", "))])
}

/// What would become of an action.
pub(crate) fn explanation(explanation: &Explanation) -> String {
    let people = match explanation.approvals {
        1 => "1 person is asked".to_owned(),
        number => format!("{number} people are asked"),
    };
    let result = match explanation.result() {
        Result::Unspecified => String::new(),
        Result::Permitted => "permitted, and nobody is asked".to_owned(),
        Result::Asks => people,
        Result::Forbidden => "forbidden, whoever approves".to_owned(),
        Result::Unattended => format!("unattended: {people}, and the invocation has none"),
    };
    let mut facts = vec![word(
        explanation.effect_class().as_str_name(),
        "EFFECT_CLASS_",
    )];
    if explanation.first_use {
        facts.push("first use".to_owned());
    }
    if explanation.high_entropy {
        facts.push("a long value without a pattern".to_owned());
    }
    let mut text = fields([
        ("result", result),
        ("decided by", explanation.policies.join(", ")),
        ("because", explanation.obstacles.join("; ")),
        ("the host sees", facts.join(", ")),
        ("policy", explanation.policy_version.clone()),
    ]);
    for step in &explanation.steps {
        let answer = if step.permitted { "permits" } else { "refuses" };
        let by = match (step.policies.as_slice(), step.errors.as_slice()) {
            ([], []) => "no rule permits it".to_owned(),
            (policies, errors) => [policies, errors].concat().join(", "),
        };
        let line = crate::cli::text::line(&by);
        text.push_str(&format!(
            "with {} approvals it {answer}: {line}\n",
            step.approvals
        ));
    }
    text
}
