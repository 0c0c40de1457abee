//! Which parts of a question the policies look at.

use cedar_policy::PolicySet;
use serde_json::Value;

use crate::policy::PolicyError;
use crate::question::Question;

/// Whether any policy looks at what differs between almost all questions. Where none does, questions
/// that differ only there have one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    target: bool,
    path: bool,
}

impl Sight {
    /// Read off the policies' own syntax trees. Whatever is not understood counts as looked at.
    pub(crate) fn of(policies: &PolicySet) -> Result<Self, PolicyError> {
        let mut sight = Self {
            target: false,
            path: false,
        };
        for policy in policies.policies() {
            let tree = policy
                .to_json()
                .map_err(|error| PolicyError::Syntax(error.to_string()))?;
            sight.target |= tree["resource"]["op"] != "All";
            sight.look(&tree["conditions"]);
        }
        Ok(sight)
    }

    fn look(&mut self, node: &Value) {
        match node {
            Value::Array(nodes) => nodes.iter().for_each(|node| self.look(node)),
            Value::Object(fields) => {
                for (name, node) in fields {
                    match (name.as_str(), node) {
                        ("Var", Value::String(variable)) => self.variable(variable),
                        // `context.path` and `context has path` are one attribute, not all of them.
                        ("." | "has", Value::Object(access))
                            if access.get("left").is_some_and(is_context) =>
                        {
                            self.path |= access.get("attr") == Some(&Value::from("path"));
                            // The extended `has a.b` has a list here.
                            self.path |= !access.get("attr").is_some_and(Value::is_string);
                        }
                        _ => self.look(node),
                    }
                }
            }
            _ => {}
        }
    }

    fn variable(&mut self, name: &str) {
        match name {
            "resource" => self.target = true,
            "context" => self.path = true,
            _ => {}
        }
    }

    /// Blanks what is not looked at.
    pub(crate) fn narrow(self, question: &mut Question) {
        if !self.target {
            question.target.clear();
        }
        if !self.path
            && let Some(url) = &mut question.url
        {
            url.path.clear();
        }
    }
}

fn is_context(node: &Value) -> bool {
    node["Var"] == "context"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;
    use crate::policy::SHIPPED;

    fn sight(text: &str) -> (bool, bool) {
        let Sight { target, path } = Sight::of(&text.parse().unwrap()).unwrap();
        (target, path)
    }

    #[test]
    fn what_a_policy_looks_at_is_found_wherever_it_stands() {
        assert_eq!(
            sight("permit (principal, action, resource);"),
            (false, false)
        );
        assert_eq!(sight(SHIPPED), (false, false));
        for (condition, seen) in [
            ("resource == Target::\"x\"", (true, false)),
            ("[principal, resource].contains(principal)", (true, false)),
            ("{ a: resource } has a", (true, false)),
            ("context.path like \"/v1/*\"", (false, true)),
            ("context has path", (false, true)),
            ("context[\"path\"] == \"/\"", (false, true)),
            (
                "if context.host == \"a\" then context.path == \"/\" else true",
                (false, true),
            ),
            ("context == { approvals: 1 }", (false, true)),
            ("[context].contains(context)", (false, true)),
            (
                "context.host == \"a\" && context.approvals >= 1",
                (false, false),
            ),
        ] {
            let text = format!("permit (principal, action, resource) when {{ {condition} }};");
            assert_eq!(sight(&text), seen, "{condition}");
            let text = format!("forbid (principal, action, resource) unless {{ {condition} }};");
            assert_eq!(sight(&text), seen, "{condition}");
        }
        for scope in [
            "resource == Target::\"x\"",
            "resource in Target::\"x\"",
            "resource is Target",
        ] {
            let text = format!("permit (principal, action, {scope});");
            assert_eq!(sight(&text), (true, false), "{scope}");
        }
    }
}
