//! Which path is which method, read from the contract's `google.api.http` rules.

use anyhow::{Context as _, bail};
use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

use super::template::Template;

const VERBS: [(&str, Method); 5] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("patch", Method::PATCH),
];

/// All paths.
#[derive(Debug)]
pub(super) struct Routes(Vec<Route>);

/// One path of one method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) verb: Method,
    pub(super) template: Template,
    pub(super) payload: Payload,
    pub(super) method: MethodDescriptor,
    /// `/nexus.v1.AgentService/GetAgent`.
    pub(super) rpc: String,
}

/// What a request's body is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// It has none.
    Nothing,
    /// The whole message, but for what the path says.
    Message,
    /// One field of it.
    Field(String),
    /// The bytes that a method of many messages takes in.
    Upload,
}

/// A path that fits, and the fields that it gives.
pub(super) struct Found<'a> {
    pub(super) route: &'a Route,
    pub(super) fields: Vec<(&'a str, String)>,
}

/// Why there is none.
pub(super) enum Missing<'a> {
    /// No path fits.
    Path,
    /// Other methods of HTTP have it.
    Verb(Vec<&'a Method>),
}

impl Routes {
    /// Every rule of every method; fails if one does not read.
    pub(super) fn of(pool: &DescriptorPool) -> anyhow::Result<Self> {
        let http = pool
            .get_extension_by_name("google.api.http")
            .context("the contract has no paths")?;
        let mut routes = Vec::new();
        for method in pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            let options = method.options();
            let option = options.get_extension(&http);
            let Some(rule) = option.as_message().filter(|_| options.has_extension(&http)) else {
                continue;
            };
            routes.push(route(&method, rule)?);
            let more = rule.get_field_by_name("additional_bindings");
            for rule in more
                .iter()
                .flat_map(|more| more.as_list().unwrap_or_default())
            {
                let rule = rule.as_message().context("a rule is a message")?;
                routes.push(route(&method, rule)?);
            }
        }
        // The more that a template says, the earlier it is tried.
        routes.sort_by_key(|route| !route.template.has_verb());
        Ok(Self(routes))
    }

    pub(super) fn all(&self) -> &[Route] {
        &self.0
    }

    /// The route of a request.
    pub(super) fn find(&self, verb: &Method, path: &str) -> Result<Found<'_>, Missing<'_>> {
        let mut others = Vec::new();
        for route in &self.0 {
            let Some(fields) = route.template.fit(path) else {
                continue;
            };
            if route.verb == *verb {
                return Ok(Found { route, fields });
            }
            if !others.contains(&&route.verb) {
                others.push(&route.verb);
            }
        }
        Err(match others.is_empty() {
            true => Missing::Path,
            false => Missing::Verb(others),
        })
    }
}

fn route(method: &MethodDescriptor, rule: &DynamicMessage) -> anyhow::Result<Route> {
    let name = method.full_name();
    let text = |field: &str| {
        let value = rule.get_field_by_name(field);
        value
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let Some((field, verb)) = VERBS
        .into_iter()
        .find(|(field, _)| rule.has_field_by_name(field))
    else {
        bail!("{name} has a path of no method of HTTP");
    };
    let path = text(field);
    let template =
        Template::parse(&path).with_context(|| format!("the path of {name} is {path:?}"))?;
    let payload = match text("body") {
        _ if method.is_client_streaming() => Payload::Upload,
        body if body.is_empty() => Payload::Nothing,
        body if body == "*" => Payload::Message,
        body => Payload::Field(body),
    };
    Ok(Route {
        verb,
        template,
        payload,
        rpc: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        method: method.clone(),
    })
}
