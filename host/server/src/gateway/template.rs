//! Paths as `google.api.http` writes them: `/v1/{name=agents/*}:invoke`.

use std::ops::Range;

/// A path with holes.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// What stands behind the colon.
    verb: Option<String>,
    variables: Vec<Variable>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*`: one segment.
    One,
    /// `**`: all that is left, at least one.
    Rest,
}

/// A field that part of the path gives.
#[derive(Debug)]
struct Variable {
    field: String,
    segments: Range<usize>,
}

impl Template {
    /// Reads a template; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/')?;
        let tail = text.rfind(['}', '/']).unwrap_or(0);
        let (mut rest, verb) = match text[tail..].rfind(':') {
            Some(at) => (&text[..tail + at], Some(text[tail + at + 1..].to_owned())),
            None => (text, None),
        };
        let (mut segments, mut variables) = (Vec::new(), Vec::new());
        loop {
            let after = match rest.strip_prefix('{') {
                Some(inner) => {
                    let (inner, after) = inner.split_once('}')?;
                    let (field, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
                    let start = segments.len();
                    segments.extend(pattern.split('/').map(Segment::of));
                    variables.push(Variable {
                        field: field.to_owned(),
                        segments: start..segments.len(),
                    });
                    after
                }
                None => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    segments.push(Segment::of(&rest[..end]));
                    &rest[end..]
                }
            };
            if after.is_empty() {
                break;
            }
            rest = after.strip_prefix('/')?;
        }
        let well_formed = segments
            .iter()
            .rev()
            .skip(1)
            .all(|segment| *segment != Segment::Rest);
        well_formed.then_some(Self {
            segments,
            verb,
            variables,
        })
    }

    /// Whether it ends in a verb. Of two templates that fit, the one that does is meant.
    pub(super) fn has_verb(&self) -> bool {
        self.verb.is_some()
    }

    /// The path as OpenAPI writes it, and for each of its parameters the field that it is part of.
    pub(super) fn described(&self) -> (String, Vec<(String, String)>) {
        let (mut path, mut parameters) = (String::new(), Vec::new());
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            if let Segment::Literal(literal) = segment {
                path.push_str(literal);
                continue;
            }
            let variable = self.variables.iter().find(|v| v.segments.contains(&at));
            let field = variable.map_or("name", |variable| variable.field.as_str());
            let before = at
                .checked_sub(1)
                .filter(|_| variable.is_some_and(|v| v.segments.len() > 1));
            let name = match before.map(|before| &self.segments[before]) {
                Some(Segment::Literal(collection)) => singular(collection),
                _ => field.to_owned(),
            };
            path.push_str(&format!("{{{name}}}"));
            parameters.push((name, field.to_owned()));
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        (path, parameters)
    }

    /// The fields that a path gives, with their values, if it fits. Percent signs are decoded, after
    /// the path was cut at its slashes.
    pub(super) fn fit(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let path = path.strip_prefix('/')?;
        let path = match &self.verb {
            Some(verb) => path.strip_suffix(verb.as_str())?.strip_suffix(':')?,
            None => path,
        };
        let parts: Vec<&str> = path.split('/').collect();
        let rest = matches!(self.segments.last(), Some(Segment::Rest));
        let enough = match rest {
            true => parts.len() >= self.segments.len(),
            false => parts.len() == self.segments.len(),
        };
        let fits = enough
            && self
                .segments
                .iter()
                .zip(&parts)
                .all(|(segment, part)| match segment {
                    Segment::Literal(literal) => literal == part,
                    Segment::One | Segment::Rest => !part.is_empty(),
                });
        if !fits {
            return None;
        }
        let mut found = Vec::with_capacity(self.variables.len());
        for variable in &self.variables {
            let range = &variable.segments;
            let end = match rest && range.end == self.segments.len() {
                true => parts.len(),
                false => range.end,
            };
            let decoded: Option<Vec<String>> = parts[range.start..end]
                .iter()
                .map(|part| decode(part, false))
                .collect();
            found.push((variable.field.as_str(), decoded?.join("/")));
        }
        Some(found)
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        match text {
            "*" => Self::One,
            "**" => Self::Rest,
            literal => Self::Literal(literal.to_owned()),
        }
    }
}

/// What one thing of a collection is called.
fn singular(collection: &str) -> String {
    match collection.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => collection
            .strip_suffix('s')
            .unwrap_or(collection)
            .to_owned(),
    }
}

/// Undoes percent-encoding; `None` if that leaves no text. In a query a plus is a blank.
pub(super) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        let template = Template::parse(template).expect("a template");
        let found = template.fit(path)?;
        let owned = |(field, value): (&str, String)| (field.to_owned(), value);
        Some(found.into_iter().map(owned).collect())
    }

    #[test]
    fn paths_fit_their_templates_and_no_others() {
        let name = |value: &str| Some(vec![("name".to_owned(), value.to_owned())]);
        let agent = "/v1/{name=agents/*}";
        assert_eq!(fit(agent, "/v1/agents/a"), name("agents/a"));
        for other in [
            "/v1/agents",
            "/v1/agents/",
            "/v1/agents/a/b",
            "/v1/other/a",
            "/v2/agents/a",
        ] {
            assert_eq!(fit(agent, other), None, "{other}");
        }
        let invoke = "/v1/{name=agents/*}:invoke";
        assert_eq!(fit(invoke, "/v1/agents/a:invoke"), name("agents/a"));
        assert_eq!(fit(invoke, "/v1/agents/a"), None);
        assert_eq!(fit("/v1/agents:watch", "/v1/agents:watch"), Some(vec![]));
        let entry = "/v1/{name=spaces/*/entries/**}";
        assert_eq!(
            fit(entry, "/v1/spaces/s/entries/a/b:c"),
            name("spaces/s/entries/a/b:c")
        );
        assert_eq!(fit(entry, "/v1/spaces/s/entries"), None);
        let parent = fit(
            "/v1/{parent=agents/*}/generations",
            "/v1/agents/a/generations",
        );
        assert_eq!(
            parent,
            Some(vec![("parent".to_owned(), "agents/a".to_owned())])
        );
        let id = fit("/v1/secrets/{secret_id}", "/v1/secrets/key");
        assert_eq!(id, Some(vec![("secret_id".to_owned(), "key".to_owned())]));
    }

    #[test]
    fn openapi_has_names_of_its_own() {
        let described = |text: &str| Template::parse(text).expect("a template").described();
        let parameter = |name: &str, field: &str| (name.to_owned(), field.to_owned());
        assert_eq!(
            described("/v1/{name=spaces/*/entries/**}"),
            (
                "/v1/spaces/{space}/entries/{entry}".to_owned(),
                vec![parameter("space", "name"), parameter("entry", "name")]
            )
        );
        assert_eq!(
            described("/v1/{name=agents/*}:invoke"),
            (
                "/v1/agents/{agent}:invoke".to_owned(),
                vec![parameter("agent", "name")]
            )
        );
        assert_eq!(
            described("/v1/secrets/{secret_id}"),
            (
                "/v1/secrets/{secret_id}".to_owned(),
                vec![parameter("secret_id", "secret_id")]
            )
        );
    }

    #[test]
    fn percent_signs_are_decoded_after_the_cut() {
        let name = |path: &str| fit("/v1/{name=agents/*}", path);
        assert_eq!(name("/v1/agents/a%2Fb").expect("fits")[0].1, "agents/a/b");
        assert_eq!(name("/v1/agents/%C3%A4").expect("fits")[0].1, "agents/ä");
        for broken in [
            "/v1/agents/%",
            "/v1/agents/%2",
            "/v1/agents/%zz",
            "/v1/agents/%FF",
        ] {
            assert_eq!(name(broken), None, "{broken}");
        }
        assert_eq!(decode("a+b%2B", true).as_deref(), Some("a b+"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "v1", "/v1/{name", "/v1/{name=**}/more", "/v1/{a}{b}"] {
            assert!(Template::parse(text).is_none(), "{text}");
        }
    }
}
