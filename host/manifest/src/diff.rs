//! What becomes of permissions from one generation of an agent to the next.

use crate::permission::{HttpPermission, Permission};

/// How the permissions of an agent differ from those before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PermissionDiff {
    /// Asked for now and not before.
    pub added: Vec<Permission>,
    /// Asked for before and not now.
    pub removed: Vec<Permission>,
    /// Asked for otherwise than before, about the same origin, secret or space: before, and now.
    pub changed: Vec<(Permission, Permission)>,
    /// Whether anything may be done now that might not be done before.
    pub widens: bool,
}

impl PermissionDiff {
    /// From what was asked for before to what is asked for now.
    pub fn between(before: &[Permission], after: &[Permission]) -> Self {
        let mut removed: Vec<Permission> = before
            .iter()
            .filter(|permission| !after.contains(permission))
            .cloned()
            .collect();
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        for permission in after.iter().filter(|new| !before.contains(new)) {
            match removed.iter().position(|old| same_subject(old, permission)) {
                Some(at) => changed.push((removed.remove(at), permission.clone())),
                None => added.push(permission.clone()),
            }
        }
        // Each by itself: what only several together would cover counts as wider.
        let covered = |new: &Permission| before.iter().any(|old| old.covers(new));
        Self {
            added,
            removed,
            changed,
            widens: !after.iter().all(covered),
        }
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Whether both are about the same origin, secret or space.
fn same_subject(a: &Permission, b: &Permission) -> bool {
    match (a, b) {
        (Permission::Http(a), Permission::Http(b)) => a.origin == b.origin,
        (Permission::Secret(a), Permission::Secret(b)) => a.name == b.name,
        (Permission::Memory(a), Permission::Memory(b)) => a.space == b.space,
        _ => false,
    }
}

impl Permission {
    /// Whether whoever has this permission may do all that `other` permits.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(mine), Self::Http(other)) => mine.covers(other),
            (Self::Secret(mine), Self::Secret(other)) => {
                let within = |origin| mine.audience.contains(origin);
                mine.name == other.name
                    && (mine.reveal || !other.reveal)
                    && other.audience.iter().all(within)
            }
            (Self::Memory(mine), Self::Memory(other)) => {
                mine.space == other.space
                    && other.access <= mine.access
                    && (other.private || !mine.private)
                    && mine.class <= other.class
            }
            (Self::Peer(mine), Self::Peer(other)) => {
                mine.peer == other.peer && mine.class <= other.class
            }
            _ => false,
        }
    }
}

impl HttpPermission {
    fn covers(&self, other: &Self) -> bool {
        let path = |path: &String| self.paths.iter().any(|mine| path_covers(mine, path));
        self.origin == other.origin
            && other
                .methods
                .iter()
                .all(|method| self.methods.contains(method))
            && other.paths.iter().all(path)
            && self.reads_cover(other)
            // What an author no longer calls grave may be done more freely.
            && self.class <= other.class
    }

    /// What passes for a read needs nobody: fewer rules, or more texts in one, let more pass.
    fn reads_cover(&self, other: &Self) -> bool {
        if other.reads.is_empty() {
            return true;
        }
        let kept = |mine: &crate::ReadRule| {
            other.reads.iter().any(|rule| {
                let within = |value| mine.values.contains(value);
                rule.pointer == mine.pointer && rule.values.iter().all(within)
            })
        };
        !self.reads.is_empty() && self.reads.iter().all(kept)
    }
}

/// Whether every path of the pattern `path` is one of the pattern `mine`.
fn path_covers(mine: &str, path: &str) -> bool {
    let below = |parent: &str| {
        path.strip_prefix(parent)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    mine == path || mine.strip_suffix("/*").is_some_and(below)
}

#[cfg(test)]
mod tests {
    use crate::Manifest;

    use super::*;

    fn permissions(lines: &[&str]) -> Vec<Permission> {
        let mut text =
            "format = 1\nname = \"a1\"\nversion = \"0.1.0\"\nsummary = \"s\"\n".to_owned();
        for line in lines {
            text.push_str(&format!("[[permission]]\n{line}\n"));
        }
        Manifest::parse(&text).expect("a manifest").permissions
    }

    fn http(methods: &str, paths: &str, more: &str) -> String {
        format!(
            "http = {{ origin = \"https://a.example.com\", methods = [{methods}], paths = [{paths}]{more} }}"
        )
    }

    /// Whether the second asks for more than the first.
    fn widens(before: &str, after: &str) -> bool {
        PermissionDiff::between(&permissions(&[before]), &permissions(&[after])).widens
    }

    #[test]
    fn what_lets_more_happen_widens_and_nothing_else() {
        let base = http(r#""GET""#, r#""/v1/*""#, "");
        for same_or_less in [
            base.clone(),
            http(r#""GET""#, r#""/v1/prices""#, ""),
            http(r#""GET""#, r#""/v1/prices/*""#, ""),
        ] {
            assert!(!widens(&base, &same_or_less), "{same_or_less}");
        }
        for more in [
            http(r#""GET", "POST""#, r#""/v1/*""#, ""),
            http(r#""GET""#, r#""/*""#, ""),
            http(r#""GET""#, r#""/v1""#, ""),
            http(r#""GET""#, r#""/v10""#, ""),
            http(r#""GET""#, r#""/v1/*", "/v2""#, ""),
            base.replace("https://a.", "https://b."),
            base.replace("https:", "http:"),
        ] {
            assert!(widens(&base, &more), "{more}");
        }
    }

    #[test]
    fn what_passes_for_a_read_is_a_power() {
        let reads = |rules: &str| http(r#""POST""#, r#""/v1""#, &format!(", reads = [{rules}]"));
        let none = http(r#""POST""#, r#""/v1""#, "");
        let one = reads(r#"{ pointer = "/method", values = ["a"] }"#);
        let two = reads(r#"{ pointer = "/method", values = ["a", "b"] }"#);
        let both = reads(
            r#"{ pointer = "/method", values = ["a"] }, { pointer = "/kind", values = ["q"] }"#,
        );
        assert!(widens(&none, &one) && !widens(&one, &none));
        assert!(widens(&one, &two) && !widens(&two, &one));
        assert!(widens(&both, &one) && !widens(&one, &both));
    }

    #[test]
    fn secrets_spaces_and_peers_widen_by_audience_access_and_name() {
        let secret = |to: &str| format!("secret = {{ name = \"key\", audience = [{to}] }}");
        let (near, far) = (
            secret(r#""https://a.example.com""#),
            secret(r#""https://a.example.com", "https://b.example.com""#),
        );
        assert!(widens(&near, &far) && !widens(&far, &near));
        let memory = |access: &str| format!("memory = {{ space = \"kb\", access = {access:?} }}");
        let (read, write) = (memory("read"), memory("read-write"));
        assert!(widens(&read, &write) && !widens(&write, &read));
        let (one, tagged) = ("peer = { agent = \"a2\" }", "peer = { tag = \"a2\" }");
        assert!(widens(one, tagged) && widens(tagged, one) && !widens(one, one));
    }

    #[test]
    fn a_diff_pairs_what_is_about_the_same_thing() {
        let get = http(r#""GET""#, r#""/v1""#, "");
        let post = http(r#""GET", "POST""#, r#""/v1""#, "");
        let (old, kept, new) = (
            "memory = { space = \"old\", access = \"read\" }",
            "peer = { agent = \"a2\" }",
            "memory = { space = \"new\", access = \"read\" }",
        );
        let before = permissions(&[&get, old, kept]);
        let after = permissions(&[kept, &post, new]);
        let diff = PermissionDiff::between(&before, &after);
        assert_eq!(diff.changed, [(before[0].clone(), after[1].clone())]);
        assert_eq!(diff.removed, [before[1].clone()]);
        assert_eq!(diff.added, [after[2].clone()]);
        assert!(diff.widens);
        assert!(PermissionDiff::between(&after, &after).is_empty());
    }
}
