//! What a policy is asked: everything that a policy can see, and nothing it cannot.

use nexus_manifest::{Digest, Host, Scheme};

use crate::class::permissions_are_free;
use crate::grants::http_target;
use crate::{Action, ActionKind, EffectClass, Label};

/// A policy's whole view of an action. Equal questions have equal answers, which makes them cacheable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub(crate) action: &'static str,
    pub(crate) agent: String,
    pub(crate) capability: &'static str,
    pub(crate) chain: Vec<String>,
    pub(crate) class: &'static str,
    pub(crate) component: Digest,
    pub(crate) free_permissions: bool,
    pub(crate) host_kind: &'static str,
    pub(crate) labels: Vec<String>,
    pub(crate) origin: &'static str,
    pub(crate) person: String,
    pub(crate) target: String,
    pub(crate) url: Option<Url>,
    pub(crate) verb: String,
}

/// Where an http action goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Question {
    /// The question that an action poses.
    pub fn of(action: &Action) -> Self {
        let context = &*action.context;
        let mut labels: Vec<String> = action
            .labels
            .iter()
            .chain(&context.labels)
            .map(Label::to_string)
            .collect();
        if labels.iter().any(|label| label.starts_with("secret:")) {
            labels.push("secret".to_owned());
        }
        labels.sort();
        labels.dedup();
        let (host_kind, url) = match http_target(&action.target) {
            Some((origin, target)) if action.capability == "http" => {
                let url = Url {
                    scheme: match origin.scheme() {
                        Scheme::Http => "http",
                        Scheme::Https => "https",
                    },
                    host: host_text(origin.host()),
                    port: origin.port(),
                    path: target.path().to_owned(),
                };
                (host_kind(origin.host()), Some(url))
            }
            _ => ("none", None),
        };
        Self {
            action: match action.kind {
                ActionKind::Effect => action.class.as_str(),
                other => other.as_str(),
            },
            agent: context.agent.to_string(),
            capability: action.capability,
            chain: context
                .chain
                .iter()
                .map(|agent| agent.to_string())
                .collect(),
            class: action.class.as_str(),
            component: context.component,
            // One that takes another owner's place comes with a stricter class.
            free_permissions: action.kind == ActionKind::Publish
                && action.class <= EffectClass::Internal
                && permissions_are_free(&context.manifest.permissions),
            host_kind,
            labels,
            origin: context.root.as_str(),
            person: context.principal.to_string(),
            target: action.target.clone(),
            url,
            verb: action.verb.clone(),
        }
    }
}

/// The host as it stands in an origin, an IPv6 address without its brackets.
fn host_text(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::V4(address) => address.to_string(),
        Host::V6(address) => address.to_string(),
    }
}

/// How a host is named: loopback stands apart, for it never leaves the machine.
fn host_kind(host: &Host) -> &'static str {
    match host {
        Host::V4(address) if address.is_loopback() => "loopback",
        Host::V6(address) if address.is_loopback() => "loopback",
        Host::V4(_) | Host::V6(_) => "address",
        Host::Name(name) if name.split('.').any(|label| label.starts_with("xn--")) => "idn",
        Host::Name(_) => "name",
    }
}
